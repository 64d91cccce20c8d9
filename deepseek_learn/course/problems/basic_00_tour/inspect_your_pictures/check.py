"""The learner's own folder of pictures through the defect model."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

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
    """Small, but it tells gray from wrong gray, and training from evaluation mode."""
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
    """Odd sizes, gray and color, both suffixes; and a file that is no picture.

    Noise at full resolution: every other way to resize it, or to turn it to gray, shows.
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
        gray = picture.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(gray)).float()[None, None] / 255  # [1, 1, S, S]


@torch.no_grad()
def reference(x: torch.Tensor, model: nn.Module) -> float:
    return torch.softmax(model.eval()(x), dim=1)[0, 1].item()


def compare_pixels(given: list, pictures: dict[str, torch.Tensor]) -> None:
    """What the model was given, in whatever order or batches."""
    for x in given:
        if list(x.shape[1:]) != [1, SIDE, SIDE]:
            raise Failed("size", got=list(x.shape))
    seen = torch.cat(given).float() if given else torch.zeros(0, 1, SIDE, SIDE)
    for file, want in pictures.items():
        # gray before or after resizing, rounded in between or not: 3 of 255 steps
        errors = (seen - want).abs().flatten(1).amax(1)
        if not (errors <= 3 / 255).any():
            raise Failed("pixels", file=file)


def compare_files(table, want: list[str]) -> None:
    import pandas as pd

    if not isinstance(table, pd.DataFrame):
        raise Failed("frame", got=type(table).__name__)
    if sorted(map(str, table.columns)) != ["file", "probability"]:
        got = ", ".join(map(str, table.columns))
        raise Failed("columns", got=got)
    files = sorted(str(file) for file in table["file"])
    if files != want:
        listed = {"want": ", ".join(want), "got": ", ".join(files)}
        raise Failed("files", **listed)


def compare(table, want: dict[str, float]) -> None:
    values = expect.shape(table["probability"], [len(want)], "table['probability']")
    for file, got in zip(map(str, table["file"]), values, strict=True):
        if not abs(got - want[file]) < 5e-3:
            facts = {"file": file, "got": float(got), "want": want[file]}
            raise Failed("probability", **facts)
    if (np.diff(values) > 1e-6).any():
        raise Failed("order")
