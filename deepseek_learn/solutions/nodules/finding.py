"""What the detector says about one place in a scan."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .volume import Volume


@dataclass(frozen=True)
class Finding:
    """A suspected nodule.

    Attributes:
        center_mm: its center in patient coordinates (x, y, z).
        diameter_mm: its estimated diameter.
        probability: the calibrated probability that it is a nodule, 0 to 1.
        diameters_mm: an interval that contains the diameter with a stated probability;
            None if there is no calibration.

    Raises:
        ValueError: if a number is not finite, the diameter is not positive, the
            probability is not between 0 and 1, or the interval is empty or not positive.
    """

    center_mm: tuple[float, float, float]
    diameter_mm: float
    probability: float
    diameters_mm: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if len(self.center_mm) != 3 or not np.isfinite(self.center_mm).all():
            raise ValueError(
                f"center_mm must be three finite numbers; got {self.center_mm}."
            )
        if not 0 < self.diameter_mm < np.inf:
            raise ValueError(f"diameter_mm must be positive; got {self.diameter_mm}.")
        if not 0 <= self.probability <= 1:
            raise ValueError(
                f"probability must be between 0 and 1; got {self.probability}."
            )
        low, high = self.diameters_mm or (1, 1)
        if not 0 < low <= high < np.inf:
            raise ValueError(
                f"diameters_mm must be two positive numbers in order; got "
                f"{self.diameters_mm}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as a line of the solution's output."""
        interval = self.diameters_mm
        return {
            "center_mm": [round(value, 2) for value in self.center_mm],
            "diameter_mm": round(self.diameter_mm, 2),
            "probability": round(self.probability, 4),
            "diameters_mm": interval and [round(value, 2) for value in interval],
        }


def ball(volume: Volume, finding: Finding) -> np.ndarray:
    """Return the voxels whose centers are within the finding's estimated ball.

    The voxel nearest to the center always belongs to it.

    Returns:
        A Boolean array of the volume's shape.
    """
    mask = np.zeros(volume.hu.shape, bool)
    center = volume.to_index(np.array(finding.center_mm))
    spacing = np.array(volume.spacing_mm)
    reach = finding.diameter_mm / 2 / spacing
    low = np.maximum(np.floor(center - reach).astype(int), 0)
    high = np.minimum(np.ceil(center + reach).astype(int) + 1, mask.shape)
    window = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    grid = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), -1)
    distance = np.linalg.norm((grid - center) * spacing, axis=-1)
    mask[window] = distance <= finding.diameter_mm / 2
    nearest = np.clip(np.round(center).astype(int), 0, np.array(mask.shape) - 1)
    mask[tuple(nearest)] = True
    return mask
