"""An alarm for a camera or a light that changes: control charts of the parts' statistics.

A detector is calibrated on photographs from one camera under one light. When either of
them changes, its scores mean something else, long before anybody looks at the verdicts.
Each statistic of the parts is therefore followed by an exponentially weighted moving
average (EWMA). Roberts 1959, "Control Chart Tests Based on Geometric Moving Averages",
Technometrics 1(3).

Lesson: `notebooks/practical/05_the_line.ipynb`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

STATISTICS = ("brightness", "contrast", "sharpness", "size")
WEIGHT = 0.1  # of a new part in the moving average
LIMIT = 4.0  # the width of the chart in standard deviations of the moving average


def statistics(pixels: np.ndarray) -> dict[str, float]:
    """Return the statistics of a part that are followed.

    Brightness is the mean gray value and contrast is the standard deviation. Sharpness is
    the mean absolute difference of vertical and horizontal neighbors. Size is the number
    of pixels; a larger part has a higher score and therefore more false alarms.

    Args:
        pixels: the part, of shape `[H, W]` with values from 0 to 1.
    """
    values = pixels.astype(float)
    steps = np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values)).mean()
    return {
        "brightness": float(values.mean()),
        "contrast": float(values.std()),
        "sharpness": float(steps / 2),
        "size": float(values.size),
    }


@dataclass
class Drift:
    """One EWMA chart for each statistic.

    With the weight w, a new value x moves the average to z + w (x - z). The alarm is
    raised while z differs from the mean of the good parts by more than

        limit * s * sqrt(w / (2 - w) + 1 / n),

    where s is the standard deviation of the good parts and n is their number. The second
    summand is the uncertainty of their mean. If all good parts agree, as most do in size,
    s is a millionth of their mean.

    Attributes:
        mean, deviation: the mean and the standard deviation of each statistic.
        parts: the number of good parts, n.
    """

    mean: dict[str, float]
    deviation: dict[str, float]
    parts: int
    average: dict[str, float] = field(init=False)

    def __post_init__(self) -> None:
        self.average = dict(self.mean)

    @classmethod
    def of(cls, good: Iterable[dict[str, float]]) -> "Drift":
        """Calibrate the charts with the statistics of at least two good parts."""
        rows = np.array([[each[name] for name in STATISTICS] for each in good])
        if len(rows) < 2:
            raise ValueError(f"At least 2 good parts are needed; got {len(rows)}.")
        mean, deviation = rows.mean(0), rows.std(0, ddof=1)
        deviation = np.maximum(deviation, 1e-6 * np.abs(mean))  # rounding is no drift
        return cls(
            dict(zip(STATISTICS, mean.tolist(), strict=True)),
            dict(zip(STATISTICS, deviation.tolist(), strict=True)),
            len(rows),
        )

    def update(self, values: dict[str, float]) -> list[str]:
        """Follow one more part; return the names of the statistics that have drifted."""
        drifted = []
        for name in STATISTICS:
            self.average[name] += WEIGHT * (values[name] - self.average[name])
            if abs(self.average[name] - self.mean[name]) > LIMIT * self.spread(name):
                drifted.append(name)
        return drifted

    def spread(self, name: str) -> float:
        """Return the standard deviation of the moving average about the mean."""
        return self.deviation[name] * (WEIGHT / (2 - WEIGHT) + 1 / self.parts) ** 0.5
