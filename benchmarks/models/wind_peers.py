"""What else could model or watch a wind farm."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from deepseek_learn.solutions.wind import monitor
from deepseek_learn.solutions.wind.monitor import (
    BLOCK,
    AlarmDetector,
    Yield,
    comparable,
)
from deepseek_learn.solutions.wind.scada import Scada

SPAN = 20  # blocks of the moving average: 120 hours
SLACK = 0.01  # of the rated power, which the cumulative sum forgives


def spline() -> object:
    """A generalized additive model: cubic splines of each input."""
    return make_pipeline(SplineTransformer(n_knots=20), Ridge(1e-3))


def boosting() -> object:
    """Gradient boosting of trees."""
    return HistGradientBoostingRegressor(
        max_iter=200, learning_rate=0.08, min_samples_leaf=80, random_state=0
    )


@dataclass(frozen=True, eq=False)
class Records:
    """What the detectors see of a farm, in blocks of six hours.

    Attributes:
        energy: given and expected.
        residual: the mean of power minus expected power, as a part of the rated power, of
            the comparable steps, `[N, K]`; NaN where there are none.
    """

    energy: Yield
    residual: np.ndarray

    @classmethod
    def of(cls, scada: Scada, expected_kw: np.ndarray) -> "Records":
        use = comparable(scada, expected_kw)
        off = np.where(use, scada.power - expected_kw, 0) / scada.rated_kw
        count = off.shape[1] // BLOCK
        total, steps = (
            np.nan_to_num(x[:, : count * BLOCK]).reshape(len(x), count, BLOCK).sum(2)
            for x in (off, use)
        )
        mean = np.where(steps >= 6, total / np.maximum(steps, 1), np.nan)
        return cls(Yield.of(scada, expected_kw), mean)

    def part(self, low: int, high: int) -> "Records":
        return Records(self.energy.part(low, high), self.residual[:, low:high])

    def replaced(self, turbine: int, other: "Records", start: int) -> "Records":
        """A copy in which one turbine is that of other records from a block on."""
        residual = self.residual.copy()
        its = other.residual[turbine]
        residual[turbine, start : start + len(its)] = its
        return Records(self.energy.replaced(turbine, other.energy, start), residual)


Active = Callable[[Records, int, float], np.ndarray]  # of a turbine and with a limit


def cumulative(records: Records, turbine: int, limit: float) -> np.ndarray:
    """A two-sided CUSUM of a turbine's own residual, which saturates at twice its limit."""
    up = down = 0.0
    row = np.zeros(records.residual.shape[1], bool)
    for block, value in enumerate(np.nan_to_num(records.residual[turbine])):
        up = min(max(0.0, up + value - SLACK), 2 * limit)
        down = min(max(0.0, down - value - SLACK), 2 * limit)
        row[block] = max(up, down) > limit
    return row


def averaged(records: Records, turbine: int, limit: float) -> np.ndarray:
    """An exponentially weighted moving average of a turbine's own residual."""
    level, weight = 0.0, 2 / (SPAN + 1)
    row = np.zeros(records.residual.shape[1], bool)
    for block, value in enumerate(records.residual[turbine]):
        if np.isfinite(value):
            level += weight * (value - level)
        row[block] = abs(level) > limit
    return row


def compared(detector: AlarmDetector) -> Active:
    """Ours, whose limits are all multiplied by one number."""

    def active(records: Records, turbine: int, limit: float) -> np.ndarray:
        limits = {window: limit * each for window, each in detector.limits.items()}
        return replace(detector, limits=limits).active(records.energy)[turbine]

    return active


def alone(reference: Yield) -> Active:
    """Ours without neighbors: a turbine against its own 60 days before."""
    detectors = [
        AlarmDetector.fit(_alone(reference, turbine))
        for turbine in range(len(reference.given))
    ]

    def active(records: Records, turbine: int, limit: float) -> np.ndarray:
        own = replace(records, energy=_alone(records.energy, turbine))
        return compared(detectors[turbine])(own, turbine, limit)

    return active


def _alone(energy: Yield, turbine: int) -> Yield:
    """The yield of a farm in which all other turbines give exactly what is expected."""
    given = energy.expected.copy()
    given[turbine] = energy.given[turbine]
    return Yield(given, energy.expected)


def alarm_rate(active: np.ndarray) -> float:
    """Alarms per year of one turbine."""
    return len(monitor.alarms(active)) / (active.size / (4 * 365.25))


def tuned(active: Active, records: Records, most: float, first: int) -> float:
    """The smallest limit down to which there are at most so many alarms, from a block on.

    The rate per turbine-year does not grow steadily as the limit falls: a detector that is
    always active raises a single alarm. So limits are tried downwards from a high one.
    """
    turbines, limit = range(len(records.residual)), 10.0
    while limit > 1e-3:
        lower = limit / 1.03
        rate = np.mean(
            [alarm_rate(active(records, i, lower)[first:]) for i in turbines]
        )
        if rate > most:
            return limit
        limit = lower
    return limit
