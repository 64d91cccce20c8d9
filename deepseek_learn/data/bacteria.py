"""Bacteria in bright field, each picture with a mask: a task for segmentation.

The file `files/bacteria.npz` holds 41 fields of view of E. coli with their masks, made
(and to be made again) from the source package of ColiCoords 0.1.5 (MIT; SHA-256
b9d4335751929c494fbe1f6ebebd0cc8f7addda86cccad01244f1edf00de0a4d) with

    pip download --no-deps --no-binary colicoords colicoords==0.1.5
    tar xzf colicoords-0.1.5.tar.gz
    python -c "from deepseek_learn.data.bacteria import make; \
        make('colicoords-0.1.5', 'bacteria.npz')"

Rule: every pair of a bright-field and a binary image of 512 x 512 in the package, in the
order of `SOURCES`. The outer 32 pixels are cut off, because bacteria that touch the
border were not outlined; 2 x 2 pixels become one (the mean of the picture; the mask
where at least two of four are marked). Each picture is divided by its median, the
background's brightness; then the 0.1 and 99.9 percentile over the pictures of one source
become 0 and 255. Of every five fields the fourth is validation, the fifth is test.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from ..files import whole
from .dataset import ImageDataset, Splits, datasets, read_card, split_by

CLASSES = ("background", "bacterium")
SIZE, MARGIN = 224, 32  # pixels of a field as kept; cut off of the original's edges

# bright field and mask in the source package: a stack, or a folder of single images
SOURCES = (
    ("examples/data/02/brightfield_stack.tif", "examples/data/02/binary_stack.tif"),
    ("examples/data/06/brightfield_storm.tif", "examples/data/06/binary_storm.tif"),
    ("test/test_data/ds1/brightfield", "test/test_data/ds1/binary"),
    ("test/test_data/ds2/brightfield", "test/test_data/ds2/binary"),
)

CARD = read_card("bacteria")


@datasets.register("bacteria")
def bacteria(tile: int = SIZE) -> Splits:
    """The fields of view, or tiles of them: pictures `[1, tile, tile]`, masks as labels.

    A label is int64 `[tile, tile]`, 0 background and 1 bacterium. Tiles stand side by
    side and stay in the part of their field.

    Args:
        tile: edge in pixels, a divisor of 224.

    Raises:
        ValueError: for another tile.
    """
    if not isinstance(tile, int) or tile < 1 or SIZE % tile:
        raise ValueError(f"tile must be a divisor of {SIZE}; got {tile!r}.")
    path = files("deepseek_learn.data") / "files" / "bacteria.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        images, masks, source = arrays["images"], arrays["masks"], arrays["source"]
    count = (SIZE // tile) ** 2
    frame = pd.DataFrame({"field": np.arange(len(images)), "source": source})
    frame = frame.loc[frame.index.repeat(count)].assign(
        tile=np.tile(np.arange(count), len(images))
    )
    pictures = ImageDataset(
        cut(torch.from_numpy(images), tile)[:, None],
        cut(torch.from_numpy(masks), tile).long(),
        frame,
    )
    parts = np.array(["train", "train", "train", "validation", "test"], dtype=object)
    return split_by(parts[frame["field"] % 5], pictures, CLASSES, CARD)


def cut(fields: Tensor, tile: int) -> Tensor:
    """`[N, H, W]` → `[N * (H / tile) * (W / tile), tile, tile]`, row by row."""
    rows = fields.unfold(1, tile, tile).unfold(2, tile, tile)  # [N, H/t, W/t, t, t]
    return rows.reshape(-1, tile, tile)


def make(package: str | Path, target: str | Path) -> None:
    """Write the subset anew: the unpacked source package → `target`, npz.

    Raises:
        FileNotFoundError: when a stack or a folder of `SOURCES` is not there.
    """
    images, masks, source = [], [], []
    for bright_field, binary in SOURCES:
        pictures, marked = (
            read(Path(package) / bright_field),
            read(Path(package) / binary),
        )
        images += [to_bytes(np.stack([halved(picture) for picture in pictures]))]
        masks += [halved(mask > 0) >= 0.5 for mask in marked]
        source += ["/".join(Path(bright_field).parts[-3:-1])] * len(pictures)
    with whole(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            images=np.concatenate(images),
            masks=np.stack(masks).astype(np.uint8),
            source=np.array(source),
        )


def read(path: Path) -> list[np.ndarray]:
    """The pages of a TIFF file, or of every TIFF file of a folder."""
    if not path.exists():
        raise FileNotFoundError(
            f"package must be ColiCoords 0.1.5, unpacked; it holds no {path}."
        )
    pages = []
    for name in sorted(path.glob("*.tif")) if path.is_dir() else [path]:
        with Image.open(name) as image:
            pages += [np.array(page) for page in ImageSequence.Iterator(image)]
    return pages


def halved(image: np.ndarray) -> np.ndarray:
    """`[512, 512]` without its margin, the mean of 2 x 2 pixels: float `[224, 224]`."""
    inner = image[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float64)
    return inner.reshape(SIZE, 2, SIZE, 2).mean((1, 3))


def to_bytes(images: np.ndarray) -> np.ndarray:
    """`[N, H, W]`, each over its median; the 0.1 and 99.9 percentile are 0 and 255."""
    images = images / np.median(images, axis=(1, 2), keepdims=True)
    low, high = np.percentile(images, [0.1, 99.9])
    gray = np.clip((images - low) / (high - low), 0, 1) * 255
    return np.round(gray).astype(np.uint8)
