"""Which nodules are in which scans: split by patient, the same on every machine.

No patient's nodules stand on both sides of a split. Each nodule of the validation and test
parts is in one scan; those of the training part are used again and again, turned and with
other densities. The external scans hold the test part's nodules in other chests, scanned
at another hospital; the validation part has such a twin, too.
"""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ...bar import Bar
from ...files import atomic_write
from .nodule_shapes import nodule_shapes
from .phantom import ELSEWHERE, HOME, Scan, Scanner, scan

SEED = 20_260_101
# the version of `chest` and `phantom`: scans of different ones do not mix
GENERATOR = 3
TEST, VALIDATION = 760, 60  # at least so many nodules
PARTS: dict[str, tuple[int, Scanner]] = {  # the first number of the seed, the scanner
    "validation": (1, HOME),
    "validation_elsewhere": (4, ELSEWHERE),
    "test": (2, HOME),
    "external": (3, ELSEWHERE),
}
TRAINING_SCANS, PER_SCAN = 200, 8
WINDOW = (-1200.0, 600.0)  # HU that the detector tells apart


@cache
def split_shapes() -> dict[str, tuple[int, ...]]:
    """Return the indices of the nodules in each part, split by patient."""
    patient = nodule_shapes().table["patient"].to_numpy()
    order = np.random.default_rng(SEED).permutation(patient.max() + 1)
    counts = np.bincount(patient)[order].cumsum()
    first = int(np.searchsorted(counts, TEST)) + 1
    second = int(np.searchsorted(counts, counts[first - 1] + VALIDATION)) + 1
    parts = {
        "test": order[:first],
        "validation": order[first:second],
        "train": order[second:],
    }
    return {
        name: tuple(map(int, np.flatnonzero(np.isin(patient, patients))))
        for name, patients in parts.items()
    }


@cache
def deal(part: str) -> tuple[tuple[int, ...], ...]:
    """Return the nodules of each scan of a part: each nodule once, 0 to 6 per scan.

    The number per scan follows a Poisson distribution with a mean of 2.6 (validation:
    1.2), so some scans have none.

    Raises:
        ValueError: if `part` is not one of `PARTS`.
    """
    _check(part)
    source = "validation" if part.startswith("validation") else "test"
    rng = np.random.default_rng([SEED, PARTS[part][0]])
    shapes = list(rng.permutation(split_shapes()[source]))
    scans = []
    while shapes:
        count = min(int(rng.poisson(1.2 if source == "validation" else 2.6)), 6)
        scans.append(tuple(map(int, shapes[:count])))
        shapes = shapes[count:]
    return tuple(scans)


def _check(part: str) -> None:
    if part not in PARTS:
        raise ValueError(f"part must be one of {', '.join(PARTS)}; got {part!r}.")


def generate(part: str, index: int) -> Scan:
    """Generate a scan of a part; `index` counts the scans of `deal(part)`.

    Raises:
        ValueError: if there is no such part or scan.
    """
    _check(part)
    if not 0 <= index < len(deal(part)):
        raise ValueError(
            f"index must be from 0 to {len(deal(part)) - 1} for {part!r}; got {index}."
        )
    number, scanner = PARTS[part]
    return scan((SEED, number, index), list(deal(part)[index]), scanner)


def training_scan(index: int) -> Scan:
    """Generate a scan to train on, with 8 nodules of the training part."""
    rng = np.random.default_rng([SEED, 0, index])
    shapes = rng.choice(split_shapes()["train"], PER_SCAN, replace=False)
    return scan((SEED, 0, index), list(map(int, shapes)), HOME)


def gray(hu: np.ndarray) -> np.ndarray:
    """Return HU as bytes: -1200 HU is 0, 600 HU is 255."""
    low, high = WINDOW
    scaled = (np.asarray(hu, np.float32) - low) * (255 / (high - low))
    return np.clip(np.round(scaled), 0, 255).astype(np.uint8)


def training_scans(
    folder: str | Path, count: int = TRAINING_SCANS, progress: bool = True
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return scans to train on, which are generated once and kept in a folder.

    Args:
        folder: the cache, 19 MB per scan; each version of the generator has its own
            folder in it.

    Returns:
        For each scan, its gray values (uint8, `[Z, Y, X]`, 1 mm) as a memory map, and
        its nodules: (z, y, x, diameter) in mm, `[N, 4]`.
    """

    def make(index: int) -> tuple[np.ndarray, np.ndarray]:
        scan = training_scan(index)
        return gray(scan.hu), boxes(scan)

    own = Path(folder) / f"generator-{GENERATOR}"
    keep_scans(own, count, make, progress)
    return kept_scans(own)[:count]


def keep_scans(
    folder: Path,
    count: int,
    make: Callable[[int], tuple[np.ndarray, np.ndarray]],
    progress: bool = True,
) -> None:
    """Write the scans that a folder lacks; `make` returns gray values and nodules."""
    with Bar(count, progress, "scans") as bar:
        for index in range(count):
            path = folder / f"{index:04d}.npy"
            listed = path.with_suffix(".txt")
            if not (path.exists() and listed.exists()):
                gray_values, nodules = make(index)
                with atomic_write(path) as temporary, temporary.open("wb") as file:
                    np.save(file, gray_values)
                with atomic_write(listed) as temporary:
                    np.savetxt(temporary, nodules, fmt="%.3f")
            bar.advance(1)


def kept_scans(folder: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Read the scans of a folder: gray values (memory maps) and nodules."""
    pairs = []
    for path in sorted(folder.glob("*.npy")):
        lines = path.with_suffix(".txt").read_text().splitlines()
        nodules = np.array([line.split() for line in lines], float).reshape(-1, 4)
        pairs.append((np.load(path, mmap_mode="r"), nodules))
    return pairs


def boxes(made: Scan) -> np.ndarray:
    """Return a scan's nodules as (z, y, x, diameter) in mm, `[N, 4]`."""
    rows: Sequence = [[*each.center_mm, each.diameter_mm] for each in made.nodules]
    return np.array(rows, float).reshape(-1, 4)
