# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The learner's own folder of pictures through the defect model."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from .. import expect
from ..problem import Failed, Problem

SIDE = 288


def check(answer, rng) -> None:
    expect.function(answer, "inspect")
    for pictures in (PICTURES, PICTURES, PICTURES[:1]):
        model = random_model(rng)
        with tempfile.TemporaryDirectory() as folder:
            pictures = dict(draw_pictures(Path(folder), pictures, rng))
            want = {name: reference(x, model) for name, x in pictures.items()}
            model.train()  # as a model is that has just been trained
            given = record_inputs(model)
            table = expect.call(answer, folder, model)
            compare_files(table, sorted(pictures))
            compare_pixels(given, pictures)
            compare(table, want)


def record_inputs(model: nn.Sequential) -> list:
    """A list that fills with what the model is given, by `forward` too.

    Copies: an answer may use one tensor for all pictures.
    """
    given = []
    model[0].register_forward_pre_hook(
        lambda _, args: given.append(args[0].detach().clone())
    )
    return given


def random_model(rng) -> nn.Module:
    """Small, but it tells grey from wrong grey, and training from evaluation mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        norm = nn.BatchNorm2d(4)
        nn.init.normal_(norm.running_mean, std=0.2)
        head = nn.Linear(4, 2)
        nn.init.normal_(head.weight)
        pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5))
        return nn.Sequential(nn.Conv2d(1, 4, 7, stride=4), norm, nn.ReLU(), *pool, head)


PICTURES = [
    ("roof.v2.png", "L"),
    ("wall.jpg", "L"),
    ("lawn.jpg", "RGB"),
    ("pond.PNG", "RGB"),
    ("gate.JPG", "RGB"),
]


def draw_pictures(folder: Path, pictures: list[tuple[str, str]], rng):
    """Odd sizes, grey and colour, both suffixes; and a file that is no picture.

    Noise at full resolution: every other way to resize it, or to turn it to grey, shows.
    """
    (folder / "notes.png.txt").write_text("not a picture")
    for name, mode in pictures:
        height, width = (int(n) for n in rng.integers(40, 400, size=2))
        noise = rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        noise = (noise * rng.uniform(0.2, 1, size=3)).astype(np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / name)
        yield name, as_input(folder / name)


def as_input(path: Path) -> torch.Tensor:
    with Image.open(path) as picture:
        grey = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(grey)).float()[None, None] / 255  # [1, 1, S, S]


@torch.no_grad()
def reference(x: torch.Tensor, model: nn.Module) -> float:
    return torch.softmax(model.eval()(x), dim=1)[0, 1].item()


def compare_pixels(given: list, pictures: dict[str, torch.Tensor]) -> None:
    """What the model was given, in whatever order or batches."""
    for x in given:
        if list(x.shape[1:]) != [1, SIDE, SIDE]:
            raise Failed("inspect_your_pictures.size", got=list(x.shape))
    seen = torch.cat(given).float() if given else torch.zeros(0, 1, SIDE, SIDE)
    for file, want in pictures.items():
        # grey before or after resizing, rounded in between or not: 3 of 255 steps
        errors = (seen - want).abs().flatten(1).amax(1)
        if not (errors <= 3 / 255).any():
            raise Failed("inspect_your_pictures.pixels", file=file)


def compare_files(table, want: list[str]) -> None:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise Failed("inspect_your_pictures.frame", got=type(table).__name__)
    if sorted(map(str, table.columns)) != ["file", "probability"]:
        got = ", ".join(map(str, table.columns))
        raise Failed("inspect_your_pictures.columns", got=got)
    files = sorted(str(file) for file in table["file"])
    if files != want:
        listed = {"want": ", ".join(want), "got": ", ".join(files)}
        raise Failed("inspect_your_pictures.files", **listed)


def compare(table, want: dict[str, float]) -> None:
    values = expect.shape(table["probability"], [len(want)], "table['probability']")
    for file, got in zip(map(str, table["file"]), values, strict=True):
        if not abs(got - want[file]) < 5e-3:
            facts = {"file": file, "got": float(got), "want": want[file]}
            raise Failed("inspect_your_pictures.probability", **facts)
    if (np.diff(values) > 1e-6).any():
        raise Failed("inspect_your_pictures.order")


HEAD = """from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image


def inspect(folder, model):
"""
SOLUTION = """    model.eval()
    rows = []
    for path in Path(folder).iterdir():
        if path.suffix.lower() not in (".png", ".jpg"):
            continue
        grey = Image.open(path).convert("L")
        grey = grey.resize((288, 288), Image.Resampling.BILINEAR)
        x = torch.from_numpy(np.array(grey)).float()[None, None] / 255
        with torch.no_grad():
            p = torch.softmax(model(x), dim=1)[0, 1].item()
        rows.append({"file": path.name, "probability": p})
    return pd.DataFrame(rows).sort_values("probability", ascending=False)
"""


def changed(old: str, new: str) -> str:
    assert old in SOLUTION
    return HEAD + SOLUTION.replace(old, new)


problem = Problem(
    id="inspect_your_pictures",
    version=3,
    lesson="tour",
    stage="basic",
    title={"en": "Your own pictures", "zh": "检查你自己的照片"},
    prompt={
        "en": """Write `inspect(folder, model)`: look at every `.png` and `.jpg` file of a folder (in
capitals too: phones write `.JPG`) and return a pandas DataFrame with the columns `file`
(the name, without the folder) and `probability`, the most suspicious picture first.

Each picture is turned to grey, resized to 288 × 288 with PIL's bilinear filter, scaled to
0..1 and given to the model, in evaluation mode, as `[1, 1, 288, 288]`. The model answers
two logits; `probability` is the softmax of class 1, *defective*.

Afterwards run it on photographs of your own: `inspect("my_photos", zoo.load("solar_defects"))`
with `from deepseek_learn import zoo`. What does a model that has only ever seen solar
cells say of a cat, and how sure is it?""",
        "zh": """请编写 `inspect(folder, model)`：查看文件夹里的每个 `.png` 和 `.jpg` 文件（大写后缀也算，手机常写成
`.JPG`），返回一个 pandas DataFrame，列为 `file`（文件名，不含路径）和 `probability`，最可疑的图片排在最前。

每张图片先转为灰度，用 PIL 的双线性滤波缩放到 288 × 288，数值缩放到 0..1，再以 `[1, 1, 288, 288]` 的形状送入处于评估模式的模型。模型给出两个 logit；`probability` 是第 1 类（*有缺陷*）的 softmax 值。

完成后，拿你自己的照片试试：先 `from deepseek_learn import zoo`，再运行
`inspect("my_photos", zoo.load("solar_defects"))`。一个只见过太阳能电池的模型会怎样评价一只猫？它又有多自信？""",
    },
    starter=HEAD + "    ...\n",
    answer="inspect",
    hints=(
        {
            "en": "`Path(folder).iterdir()` lists the files; `path.suffix.lower()` tells "
            "pictures from the rest, whatever the case.",
            "zh": "`Path(folder).iterdir()` 列出所有文件；用 `path.suffix.lower()` 判断是不是图片，就不必管大小写。",
        },
        {
            "en": '`Image.open(path).convert("L").resize((288, 288), '
            "Image.Resampling.BILINEAR)`, then through numpy to a float tensor, divided "
            "by 255, with two new axes in front.",
            "zh": '`Image.open(path).convert("L").resize((288, 288), Image.Resampling.BILINEAR)`，再经 numpy 变成浮点张量，除以 255，并在最前面加两个轴。',
        },
        {
            "en": "A model that has just been trained is in training mode: dropout and "
            "batch norm then answer differently. Call `model.eval()` first.",
            "zh": "刚训练完的模型处于训练模式，dropout 和批归一化的行为会不同。先调用 `model.eval()`。",
        },
    ),
    check=check,
    solution=HEAD + SOLUTION,
    wrong={
        "model left in training mode": changed("model.eval()", "model.train()"),
        "not scaled to 0..1": changed(" / 255", ""),
        "the probability of the other class": changed("[0, 1].item", "[0, 0].item"),
        "least suspicious first": changed("ascending=False", "ascending=True"),
        "not resized": changed(
            "grey = grey.resize((288, 288), Image.Resampling.BILINEAR)", "pass"
        ),
        "resized to another size": changed("(288, 288)", "(224, 224)"),
        "resized by the nearest pixel": changed("BILINEAR", "NEAREST"),
        "resized with PIL's default": changed(", Image.Resampling.BILINEAR", ""),
        "grey as the mean of the colours": changed(
            'Image.open(path).convert("L")',
            'Image.open(path).convert("RGB")\n'
            '        grey = Image.fromarray(np.array(grey).mean(2).astype("uint8"))',
        ),
        "capital suffixes left out": changed("path.suffix.lower()", "path.suffix"),
        "capitals in .JPG only": changed(
            'path.suffix.lower() not in (".png", ".jpg")',
            'path.suffix not in (".png", ".jpg", ".JPG")',
        ),
        "what follows the first point for the suffix": changed(
            "path.suffix.lower()", '"." + path.name.lower().split(".")[1]'
        ),
        "every file with a suffix in its name": changed(
            'path.suffix.lower() not in (".png", ".jpg")',
            'not {"png", "jpg"} & set(path.name.lower().split("."))',
        ),
        "a sigmoid of the second logit": changed(
            "torch.softmax(model(x), dim=1)", "torch.sigmoid(model(x))"
        ),
        "the path for the name": changed("path.name,", "str(path),"),
    },
    right={
        "all in one batch, grey after resizing": HEAD
        + """    names, pictures = [], []
    for path in sorted(Path(folder).glob("*.*")):
        if str(path).lower().endswith((".png", ".jpg")):
            small = Image.open(path).resize((288, 288), Image.BILINEAR).convert("L")
            names.append(path.name)
            pictures.append(np.asarray(small, dtype=np.float32)[None] / 255)
    with torch.inference_mode():
        p = model.eval()(torch.tensor(np.stack(pictures))).softmax(1)[:, 1].numpy()
    table = pd.DataFrame({"probability": p, "file": names})
    return table.sort_values("probability", ascending=False, ignore_index=True)
""",
        "one tensor for all pictures, sorted by hand": changed(
            "    rows = []\n", "    rows, x = [], torch.empty(1, 1, 288, 288)\n"
        )
        .replace("x = torch.from_numpy(", "x[:] = torch.from_numpy(")
        .replace("model(x)", "model.forward(x)")
        .replace(
            'pd.DataFrame(rows).sort_values("probability", ascending=False)',
            'pd.DataFrame(sorted(rows, key=lambda row: -row["probability"]))',
        ),
    },
    points=3,
    minutes=25,
)
