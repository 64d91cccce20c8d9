"""Run the defect model on a folder of images."""

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
    for specs in (IMAGES, IMAGES, IMAGES[:1]):
        model = random_model(rng)
        with tempfile.TemporaryDirectory() as folder:
            images = dict(draw_images(Path(folder), specs, rng))
            want = {name: reference(x, model) for name, x in images.items()}
            model.train()  # the mode of a freshly trained model
            inputs = record_inputs(model)
            table = expect.call(answer, folder, model)
            compare_files(table, sorted(images))
            compare_pixels(inputs, images)
            compare(table, want)


def record_inputs(model: nn.Sequential) -> list:
    """Return a list that collects the model's inputs, even if only `forward` is called.

    It holds copies, because an answer may reuse one tensor for all images.
    """
    inputs = []
    model[0].register_forward_pre_hook(
        lambda _, args: inputs.append(args[0].detach().clone())
    )
    return inputs


def random_model(rng) -> nn.Sequential:
    """Return a model sensitive to gray conversion and to training versus eval mode."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        norm = nn.BatchNorm2d(4)
        assert norm.running_mean is not None
        nn.init.normal_(norm.running_mean, std=0.2)
        head = nn.Linear(4, 2)
        nn.init.normal_(head.weight)
        pool = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.5))
        return nn.Sequential(nn.Conv2d(1, 4, 7, stride=4), norm, nn.ReLU(), *pool, head)


IMAGES = [
    ("roof.v2.png", "L"),
    ("wall.jpg", "L"),
    ("lawn.jpg", "RGB"),
    ("pond.PNG", "RGB"),
    ("gate.JPG", "RGB"),
]


def draw_images(folder: Path, specs: list[tuple[str, str]], rng):
    """Write gray and color images of odd sizes, with both suffixes, and one other file.

    Full-resolution noise reveals any other way of resizing or converting to gray.
    """
    (folder / "notes.png.txt").write_text("not an image")
    for name, mode in specs:
        height, width = (int(n) for n in rng.integers(40, 400, size=2))
        noise = rng.integers(0, 256, size=(height, width, 3), dtype=np.uint8)
        noise = (noise * rng.uniform(0.2, 1, size=3)).astype(np.uint8)
        Image.fromarray(noise).convert(mode).save(folder / name)
        yield name, as_input(folder / name)


def as_input(path: Path) -> torch.Tensor:
    with Image.open(path) as image:
        gray = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(gray)).float()[None, None] / 255  # [1, 1, S, S]


@torch.no_grad()
def reference(x: torch.Tensor, model: nn.Module) -> float:
    return torch.softmax(model.eval()(x), dim=1)[0, 1].item()


def compare_pixels(inputs: list, images: dict[str, torch.Tensor]) -> None:
    """Compare the model's inputs, in whatever order or batches they arrived."""
    for x in inputs:
        if list(x.shape[1:]) != [1, SIDE, SIDE]:
            raise Failed("size", got=list(x.shape))
    pixels = torch.cat(inputs).float() if inputs else torch.zeros(0, 1, SIDE, SIDE)
    for file, want in images.items():
        # gray before or after resizing, with or without rounding: at most 3 / 255
        errors = (pixels - want).abs().flatten(1).amax(1)
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
