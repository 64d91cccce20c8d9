"""The learner's own data: `projects/own/data.npz` in the portfolio.

It holds `x` (numbers `[N, ...]`, or texts `[N]`), `y` (the classes `[N]`, whole numbers
from 0) and `groups` (`[N]`, whole numbers: what must not be on both sides of a split, a
person or a machine; where nobody knows, a number of its own for each item).
"""

import io
import zipfile

import numpy as np

from ..refusal import Refused
from .task import Draw, hold_out, tasks

ITEMS, GROUPS = 200, 10  # at least
UNPACKED = 256 << 20  # bytes at most


@tasks.register("own", title={"en": "A project on own data", "zh": "自有数据项目"})
def own(rng: np.random.Generator, data: bytes | None = None) -> Draw:
    """The learner's inputs and classes; a third of the groups is for the tests.

    Raises:
        Refused: if there is no such file, or it cannot be used; the message says why.
    """
    if data is None:
        raise Refused("missing", file="projects/own/data.npz")
    x, y, groups = parsed(data)
    learn, test = hold_out(groups, 1 / 3, rng)
    if x.dtype.kind == "U":
        both = [str(text) for text in x]
        return Draw(
            [both[i] for i in learn], y[learn], [both[i] for i in test], y[test]
        )
    return Draw(x[learn], y[learn], x[test], y[test])


def parsed(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    try:
        # a small file may unpack to a very large one
        entries = zipfile.ZipFile(io.BytesIO(data)).infolist()
        if sum(entry.file_size for entry in entries) > UNPACKED:
            raise ValueError("too large")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            x, y, groups = file["x"], file["y"], file["groups"]
    except Exception as error:  # of a stranger's file
        raise Refused("own_data", why=f"{type(error).__name__}: {error}") from error
    if x.dtype.kind in "biuf":
        x = x.astype(np.float32)
    numbers = x.dtype.kind == "f" and np.isfinite(x).all()
    words = x.dtype.kind == "U" and x.ndim == 1
    usable = (
        (numbers or words)
        and y.dtype.kind in "iu"
        and groups.dtype.kind in "iu"
        and y.ndim == groups.ndim == 1
        and len(x) == len(y) == len(groups) >= ITEMS
        and 0 <= y.min() < y.max() < 1000
        and len(np.unique(groups)) >= GROUPS
    )
    if not usable:
        raise Refused("own_data", why=f"x {x.dtype} {x.shape}, y {y.dtype} {y.shape}")
    return x, y.astype(np.int64), groups.astype(np.int64)
