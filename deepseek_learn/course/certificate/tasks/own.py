"""The learner's own data: `projects/own/data.npz` in the portfolio.

It holds `x` (numbers `[N, ...]`, or texts `[N]`), `y` (the classes `[N]`, whole numbers
from 0) and `groups` (`[N]`, whole numbers: what must not be on both sides of a split, a
person or a machine; where nobody knows, a number of its own for each item).
"""

import io
import math
import zipfile
from typing import IO

import numpy as np

from ..refusal import Refused
from .task import Draw, hold_out, tasks

ITEMS, GROUPS = 200, 10  # at least
ARRAYS = ("x", "y", "groups")
MAX_ITEMS = 20_000
UNPACKED = 64 << 20  # bytes of an array, at no less than four bytes per number
HEADER = 1 << 16  # bytes
TABLE = 1 << 12  # bytes of an archive's table of contents


@tasks.register("own", title={"en": "A project on own data", "zh": "自有数据项目"})
def own(rng: np.random.Generator, data: bytes | None = None) -> Draw:
    """The learner's own data; a third of the groups is the test set.

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
        check_table(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            check_sizes(archive)
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            x, y, groups = (file[name] for name in ARRAYS)
    except Exception as error:  # of a stranger's file
        raise Refused("own_data", why=f"{type(error).__name__}: {error}") from error
    if x.dtype.kind in "biuf":
        x = x.astype(np.float32)
    numbers = x.dtype.kind == "f" and x.size and np.isfinite(x).all()
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


def check_table(data: bytes) -> None:
    """Refuse a zip file with a long central directory, which zipfile reads at once.

    Raises:
        ValueError: if it is too long, or the file does not end as `numpy.savez` writes.
    """
    mark, size = data[-22:-18], int.from_bytes(data[-10:-6], "little")
    if mark != b"PK\x05\x06" or data[-42:-38] == b"PK\x06\x07" or size > TABLE:
        raise ValueError("not an archive of numpy.savez")


def check_sizes(archive: zipfile.ZipFile) -> None:
    """Refuse arrays that would take too much memory, before any of them is read.

    A small file can decompress to a very large one (a zip bomb), and integers of one
    byte become float32.

    Raises:
        ValueError: if the file holds anything other than the three arrays, or their
            headers state too much.
    """
    entries = {entry.filename: entry.file_size for entry in archive.infolist()}
    names = sorted(entry.filename for entry in archive.infolist())
    if names != sorted(f"{name}.npy" for name in ARRAYS):
        raise ValueError(f"holds {', '.join(names)}")
    for name, unpacked in entries.items():
        with archive.open(name) as file:
            shape, dtype = header(file)
        items, values = shape[0] if shape else 0, math.prod(shape)
        if values * max(dtype.itemsize, 4) > UNPACKED or unpacked > UNPACKED + HEADER:
            raise ValueError(f"{name} {shape} {dtype} takes over {UNPACKED} bytes")
        if items > MAX_ITEMS:
            raise ValueError(f"{name} has over {MAX_ITEMS} items")


def header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype]:
    """Return the shape and the dtype in the header of an `.npy` file."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"version {version} of the format")
    shape, _, dtype = readers[version](file)
    return shape, dtype
