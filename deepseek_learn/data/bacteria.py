"""Bright-field images of bacteria with masks, for segmentation.

The file `files/bacteria.npz` contains 41 fields of view of E. coli with their masks. It
was created from the source package of ColiCoords 0.1.5 (MIT; SHA-256
b9d4335751929c494fbe1f6ebebd0cc8f7addda86cccad01244f1edf00de0a4d). These commands
reproduce it:

    pip download --no-deps --no-binary colicoords colicoords==0.1.5
    tar xzf colicoords-0.1.5.tar.gz
    python -c "from deepseek_learn.data.bacteria import make; \
        make('colicoords-0.1.5', 'bacteria.npz')"

The package contains pairs of a bright-field image and a binary mask, both 512 x 512
pixels. All of them are used, in the order listed in `SOURCES`. The outer 32 pixels are
cropped, because bacteria that touch the border were not outlined. Each block of 2 x 2
pixels is then reduced to one pixel: images are averaged, and a mask pixel is set if at
least two of the four pixels are set. Each image is divided by its median, which is the
brightness of the background. Finally, the 0.1st and 99.9th percentiles over all images
from one source are mapped to 0 and 255. In each group of five fields, the fourth is
used for validation and the fifth for testing.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image, ImageSequence
from torch import Tensor

from ..files import atomic_write
from .card import read_card
from .dataset import ImageDataset
from .splits import Splits, datasets, split_by

CLASSES = ("background", "bacterium")
SIZE, MARGIN = (
    224,
    32,
)  # side length of a field; pixels cropped from each border before halving

# bright-field images and masks in the source package, as a stack or a folder of images
SOURCES = (
    ("examples/data/02/brightfield_stack.tif", "examples/data/02/binary_stack.tif"),
    ("examples/data/06/brightfield_storm.tif", "examples/data/06/binary_storm.tif"),
    ("test/test_data/ds1/brightfield", "test/test_data/ds1/binary"),
    ("test/test_data/ds2/brightfield", "test/test_data/ds2/binary"),
)

CARD = read_card("bacteria")


@datasets.register("bacteria")
def bacteria(tile: int = SIZE) -> Splits[ImageDataset]:
    """Load the fields of view, or tiles cut from them, with their masks.

    The images have the shape `[1, tile, tile]`. The labels are int64 masks of shape
    `[tile, tile]`, with 0 for background and 1 for bacteria. Tiles do not overlap. The
    tiles of one field form a group and are always in the same split.

    Args:
        tile: the side length of a tile in pixels, which must be a divisor of 224.

    Raises:
        ValueError: if `tile` is not a divisor of 224.

    >>> from deepseek_learn import data
    >>> image, mask = data.bacteria().test[0]
    >>> image.shape, mask.shape
    (torch.Size([1, 224, 224]), torch.Size([224, 224]))
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
    dataset = ImageDataset(
        cut(torch.from_numpy(images), tile)[:, None],
        cut(torch.from_numpy(masks), tile).long(),
        frame,
        groups=frame["field"],
    )
    parts = np.array(["train", "train", "train", "validation", "test"], dtype=object)
    return split_by(parts[frame["field"] % 5], dataset, CLASSES, CARD)


def cut(fields: Tensor, tile: int) -> Tensor:
    """Cut fields of shape `[N, H, W]` into tiles, row by row.

    The result has the shape `[N * (H / tile) * (W / tile), tile, tile]`.
    """
    rows = fields.unfold(1, tile, tile).unfold(2, tile, tile)  # [N, H/t, W/t, t, t]
    return rows.reshape(-1, tile, tile)


def make(package: str | Path, target: str | Path) -> None:
    """Regenerate the npz file `target` from the unpacked source package.

    Raises:
        FileNotFoundError: if a file or folder in `SOURCES` is missing.
    """
    images, masks, source = [], [], []
    for bright_field, binary in SOURCES:
        fields, outlines = (
            read(Path(package) / bright_field),
            read(Path(package) / binary),
        )
        images += [to_bytes(np.stack([halved(field) for field in fields]))]
        masks += [halved(outline > 0) >= 0.5 for outline in outlines]
        source += ["/".join(Path(bright_field).parts[-3:-1])] * len(fields)
    with atomic_write(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            images=np.concatenate(images),
            masks=np.stack(masks).astype(np.uint8),
            source=np.array(source),
        )


def read(path: Path) -> list[np.ndarray]:
    """Read all pages from a TIFF file, or from all TIFF files in a folder."""
    if not path.exists():
        raise FileNotFoundError(
            f"package must be the folder of the unpacked ColiCoords 0.1.5; {path} is "
            f"missing."
        )
    pages = []
    for name in sorted(path.glob("*.tif")) if path.is_dir() else [path]:
        with Image.open(name) as image:
            pages += [np.array(page) for page in ImageSequence.Iterator(image)]
    return pages


def halved(image: np.ndarray) -> np.ndarray:
    """Crop the margin of an image and average each block of 2 x 2 pixels.

    The image has the shape `[512, 512]`, and the result is a float64 array of
    shape `[224, 224]`.
    """
    inner = image[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float64)
    return inner.reshape(SIZE, 2, SIZE, 2).mean((1, 3))


def to_bytes(images: np.ndarray) -> np.ndarray:
    """Normalize the brightness of images from one source and convert them to uint8.

    Each image is divided by its median. Then, the 0.1st and 99.9th percentiles over
    all images are mapped to 0 and 255.
    """
    images = images / np.median(images, axis=(1, 2), keepdims=True)
    low, high = np.percentile(images, [0.1, 99.9])
    gray = np.clip((images - low) / (high - low), 0, 1) * 255
    return np.round(gray).astype(np.uint8)
