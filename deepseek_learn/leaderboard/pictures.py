"""The pictures of the attention track: clothes among fragments of others."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

CANVAS, PICTURE, FRAGMENT, FRAGMENTS = 40, 28, 12, 4


@cache
def fashion() -> Any:
    """Return Fashion-MNIST."""
    from .. import data

    return data.fashion_mnist()


def clutter(source: Any, count: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Put each picture at a random place of a canvas, among fragments of others."""
    order = rng.permutation(len(source))[:count]
    pictures = source.images[:, 0].numpy()
    canvas = np.zeros((count, CANVAS, CANVAS), np.uint8)
    for k, index in enumerate(order):
        for _ in range(FRAGMENTS):
            r, c = rng.integers(0, PICTURE - FRAGMENT, 2)
            y, x = rng.integers(0, CANVAS - FRAGMENT, 2)
            other = pictures[rng.integers(len(pictures))]
            piece = other[r : r + FRAGMENT, c : c + FRAGMENT]
            canvas[k, y : y + FRAGMENT, x : x + FRAGMENT] = piece
        y, x = rng.integers(0, CANVAS - PICTURE, 2)
        canvas[k, y : y + PICTURE, x : x + PICTURE] = pictures[index]
    return torch.from_numpy(canvas)[:, None], source.labels[order]
