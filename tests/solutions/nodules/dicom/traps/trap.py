"""What a trap is: a folder that is easily misread, and the right answer to it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from pydicom import Dataset

from deepseek_learn.solutions.nodules.dicom.writing import (
    ct_datasets,
    write_datasets,
)

SPACING_MM = (1.25, 0.7, 0.7)
ORIGIN_MM = (-120.0, -110.0, -300.0)


@dataclass(frozen=True, eq=False)
class Truth:
    """A volume that a reader may return.

    Attributes:
        hu: its values, of shape `[Z, Y, X]`.
        spacing_mm: the distances between the voxels along Z, Y and X.
        tolerance_hu: by how much a value may differ.
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float] = SPACING_MM
    tolerance_hu: float = 0.0

    def matches(
        self, hu: np.ndarray, spacing_mm: Sequence[float], flips: bool = False
    ) -> bool:
        """Return whether a volume is this one.

        Args:
            flips: whether axes may run the other way, as readers with other coordinates
                have them.
        """
        if hu.shape != self.hu.shape:
            return False
        if not np.allclose(spacing_mm, self.spacing_mm, rtol=0.005):
            return False
        signs = product((1, -1), repeat=3) if flips else [(1, 1, 1)]
        return any(
            np.abs(hu[::z, ::y, ::x] - self.hu).max() <= self.tolerance_hu
            for z, y, x in signs
        )


@dataclass(frozen=True)
class Trap:
    """A folder that is easily misread.

    Attributes:
        what: what is unusual or wrong about it.
        build: writes the folder; returns the volumes that are right answers, the first
            being ours. None are if every volume would be wrong.
        refused: a part of our error message; "" if the series can be read.
        warning: a part of our warning; "" if none is needed.
        options: of `load_series`.
    """

    name: str
    what: str
    build: Callable[[Path], list[Truth]]
    refused: str = ""
    warning: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


traps: dict[str, Trap] = {}


def trap(what: str, refused: str = "", warning: str = "", **options: str) -> Callable:
    """Register a function that writes a folder as a trap named after the function."""

    def register(build: Callable[[Path], list[Truth]]) -> Callable:
        name = build.__name__
        traps[name] = Trap(name, what, build, refused, warning, options)
        return build

    return register


def phantom(seed: int = 0, slices: int = 24) -> np.ndarray:
    """Return a small asymmetric body of whole Hounsfield units, `[slices, 48, 40]`."""
    z, y, x = np.mgrid[:slices, :48, :40].astype(float)
    body = ((y - 24) / 21) ** 2 + ((x - 20) / 17) ** 2 < 1
    lung = ((y - 22) / 12) ** 2 + ((x - 11) / 6) ** 2 < 1
    spine = ((y - 37) / 5) ** 2 + ((x - 22) / 4) ** 2 < 1
    vessel = (y - 20 - z / 6) ** 2 + (x - 12 + z / 8) ** 2 < 4
    hu = np.full(z.shape, -1000.0)
    hu[body] = 40
    hu[lung] = -850
    hu[spine] = 500
    hu[lung & vessel] = 30
    hu += 3 * z * body  # so that a change of order is seen
    noise = np.random.default_rng(seed).normal(0, 15, z.shape)
    return np.round(hu + noise).clip(-1024, 3000).astype("float32")


def series(hu: np.ndarray | None = None, **options: Any) -> list[Dataset]:
    """Return the phantom's slices, from the feet to the head."""
    hu = phantom() if hu is None else hu
    options = {"spacing_mm": SPACING_MM, "origin_mm": ORIGIN_MM} | options
    return ct_datasets(hu, **options)


def save(
    datasets: Sequence[Dataset],
    folder: Path,
    syntax: str | None = None,
    shuffle: bool = True,
) -> list[Path]:
    """Write datasets under names that do not show their order."""
    order = np.random.default_rng(1).permutation(len(datasets))
    chosen = [datasets[i] for i in order] if shuffle else list(datasets)
    return write_datasets(chosen, folder, syntax)


def write_raw(dataset: Dataset, keyword: str, text: str) -> None:
    """Set an element to text that its representation does not allow."""
    from pydicom.dataelem import RawDataElement
    from pydicom.tag import Tag

    tag = Tag(keyword)
    vr = dataset[keyword].VR
    padded = text.encode() + b" " * (len(text.encode()) % 2)
    dataset._dict[tag] = RawDataElement(tag, vr, len(padded), padded, 0, False, True)
