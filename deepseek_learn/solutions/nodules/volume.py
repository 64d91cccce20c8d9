"""A CT volume: Hounsfield units, and where each voxel is in the patient."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume on an orthogonal grid.

    Attributes:
        hu: Hounsfield units, float32 of shape `[Z, Y, X]`.
        spacing_mm: the distances between voxel centers along Z, Y and X.
        origin_mm: the center of voxel [0, 0, 0] in DICOM's patient coordinates (x to the
            patient's left, y to the back, z to the head).
        directions: `[3, 3]`; row i is the unit vector of axis i (Z, Y, X) in patient
            coordinates.
        series_uid: the SeriesInstanceUID.
        warnings: what was unusual about the series, one sentence each.
        headers: the headers of the slices in order, without pixels. After a repair, they
            are those of the original slices.
        files: the files they were read from.
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    directions: np.ndarray
    series_uid: str
    warnings: tuple[str, ...] = ()
    headers: Sequence["Dataset"] = field(default=(), repr=False)
    files: Sequence[Path] = field(default=(), repr=False)

    def to_mm(self, zyx: np.ndarray) -> np.ndarray:
        """Return the patient coordinates (x, y, z) of voxel indices, `[..., 3]`."""
        steps = self.directions * np.array(self.spacing_mm)[:, None]
        return np.asarray(self.origin_mm) + np.asarray(zyx, float) @ steps

    def to_index(self, xyz: np.ndarray) -> np.ndarray:
        """Return the fractional voxel indices `[..., 3]` of patient coordinates."""
        offset = np.asarray(xyz, float) - np.asarray(self.origin_mm)
        return offset @ self.directions.T / np.array(self.spacing_mm)
