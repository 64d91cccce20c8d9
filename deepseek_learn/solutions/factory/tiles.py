"""Overlapping tiles: small defects survive in large images.

Shrinking a large photograph to the size that a network was trained on makes small defects
disappear. Tiles keep the resolution. They overlap, because a network knows least about
the pixels at the border of its input.
Lesson: `notebooks/practical/04_defects_from_good_parts.ipynb`.
"""

from collections.abc import Callable
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

from ...errors import check_count


def starts(length: int, tile: int, overlap: int) -> list[int]:
    """Return where the tiles begin along one axis.

    The fewest tiles that overlap by at least `overlap` pixels cover the whole length; they
    are evenly spaced, and the last one ends at the end.
    """
    if length <= tile:
        return [0]
    count = 1 + -(-(length - tile) // (tile - overlap))  # rounded up
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def anomaly_map(
    model: Callable[[Tensor], Tensor],
    image: np.ndarray,
    tile: int = 256,
    overlap: int = 32,
    batch_size: int = 4,
) -> np.ndarray:
    """Run a detector on all tiles of an image and blend the maps.

    Where tiles overlap, the values are averaged with weights that grow linearly with the
    distance from each border of the tile. An image smaller than a tile is extended by
    reflection.

    Args:
        model: maps tiles of shape `[B, 1, tile, tile]` to maps of shape `[B, tile, tile]`.
        image: a part, of shape `[H, W]` with values from 0 to 1.

    Returns:
        The anomaly map, a float32 array of shape `[H, W]`.

    Raises:
        ValueError: if `overlap` is not smaller than `tile`, or if the model returns NaN or
            infinity.
    """
    check_tiles(tile, overlap)
    height, width = image.shape
    padded = extended(image, tile)
    corners = [
        (y, x)
        for y in starts(padded.shape[0], tile, overlap)
        for x in starts(padded.shape[1], tile, overlap)
    ]
    ramp = np.minimum(np.arange(tile), np.arange(tile)[::-1]) + 1.0
    weight = np.outer(ramp, ramp)  # [tile, tile]
    total, weights = np.zeros(padded.shape), np.zeros(padded.shape)
    for first in range(0, len(corners), batch_size):
        places = corners[first : first + batch_size]
        parts = np.stack([padded[y : y + tile, x : x + tile] for y, x in places])
        with torch.inference_mode():
            maps = model(torch.from_numpy(parts).float()[:, None]).numpy()
        for (y, x), each in zip(places, maps, strict=True):
            total[y : y + tile, x : x + tile] += weight * each
            weights[y : y + tile, x : x + tile] += weight
    blended = (total / weights)[:height, :width].astype("float32")
    if not np.isfinite(blended).all():
        raise ValueError("The detector returned NaN or infinity.")
    return blended


def check_tiles(tile: int, overlap: int) -> None:
    """Raise a `ValueError` or `TypeError` if a size in pixels is out of range."""
    check_count("tile", tile)
    if not isinstance(overlap, Integral):
        raise TypeError(f"overlap must be a whole number of pixels; got {overlap!r}.")
    if not 0 <= overlap < tile:
        raise ValueError(f"overlap must be from 0 to {tile - 1}; got {overlap}.")


def extended(image: np.ndarray, tile: int) -> np.ndarray:
    """Extend an image by reflection to at least one tile."""
    missing = [(0, max(0, tile - side)) for side in image.shape]
    return np.pad(image, missing, mode="symmetric") if np.any(missing) else image
