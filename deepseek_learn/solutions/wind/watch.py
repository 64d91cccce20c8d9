"""Watch a farm from its records to its alarms."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ...bar import Bar
from ...catalog import text
from .monitor import (
    BLOCK,
    FOLDS,
    PER_DAY,
    CrossFit,
    Detector,
    Yield,
    alarms,
    deviations,
    folds,
)
from .power import STEPS, ExpectedPower, train
from .reasons import Neighbors
from .scada import STEP, Scada, ScadaError

LEAST_DAYS = 90  # of a reference period


@dataclass(frozen=True)
class Alarm:
    """An alarm.

    Attributes:
        turbine: its name.
        time: the end of the six hours in which the alarm was raised (ISO 8601).
        deviation: of the yield against the neighbors', a part of the expected energy, when
            it was clearest.
        score: the deviation in units of its usual spread.
        days: the length of the window in which it was clearest.
        reason: one of the keys of `reasons.Neighbors.reason`.
    """

    turbine: str
    time: str
    deviation: float
    score: float
    days: float
    reason: str

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class Watched:
    """What was seen in the records after the reference period.

    Attributes:
        scada: all records.
        start: the first step after the reference period.
        expected_kw: what each turbine should have given, `[N, T]`.
        energy: the same in blocks of six hours.
        detector: with the spreads of the reference period.
        alarms: those after the reference period, by time.
    """

    scada: Scada
    start: int
    expected_kw: np.ndarray
    energy: Yield
    detector: Detector
    alarms: tuple[Alarm, ...]


def watch(
    scada: Scada,
    healthy_until: str,
    *,
    steps: int = STEPS,
    seed: int = 0,
    progress: bool = True,
) -> Watched:
    """Learn from the records before a date, and watch those from that date on.

    Args:
        healthy_until: a date like 2015-01-01; at least 90 days of records, of which most
            are healthy, must lie before it. Only a year shows the turbines all seasons.
        steps: of training, for each of the four networks.

    Raises:
        ScadaError: if there are too few records before or after the date.
    """
    reference = scada.between(stop=healthy_until)
    start = len(reference)
    if start < LEAST_DAYS * 144 or len(scada) - start < BLOCK:
        raise ScadaError(
            f"healthy_until must leave at least {LEAST_DAYS} days before it and 6 hours "
            f"after it; the records run from {scada.time[0]} to {scada.time[-1]}, and it "
            f"is {healthy_until}."
        )
    model = _cross_fit(reference, steps, seed, progress)
    expected = model(scada)
    energy = Yield.of(scada, expected)
    detector = Detector.fit(energy.part(0, start // BLOCK))
    neighbors = Neighbors.of(scada, expected, model.models[0].curves, slice(0, start))
    raised = _alarms(scada, energy, detector, neighbors, start)
    return Watched(scada, start, expected, energy, detector, tuple(raised))


def _cross_fit(reference: Scada, steps: int, seed: int, progress: bool) -> CrossFit:
    fold, models = folds(reference.time, reference.time[0]), list[ExpectedPower]()
    with Bar(FOLDS, progress, text("wind.bar")) as bar:
        for number in range(FOLDS):
            models.append(
                train(reference, fold != number, steps=steps, seed=seed + number)
            )
            bar.advance(1)
    return CrossFit(tuple(models), reference.time[0], reference.time[-1] + STEP)


def _alarms(
    scada: Scada, energy: Yield, detector: Detector, neighbors: Neighbors, start: int
) -> list[Alarm]:
    active, scores = detector.active(energy), detector.scores(energy)
    limits = np.array([*detector.limits.values()])
    over = np.nan_to_num(np.abs(scores)) / limits[:, None, None]  # [windows, N, K]
    first = -(-start // BLOCK)
    result = []
    for i, turbine in enumerate(scada.turbines):
        begins = [block for block in alarms(active[i]) if block >= first]
        for block, end in pairwise([*begins, len(energy)]):
            row, peak = np.unravel_index(
                over[:, i, block:end].argmax(), (len(limits), end - block)
            )
            at, window = block + int(peak), [*detector.limits][int(row)]
            deviation = float(deviations(energy, window)[0][i, at])
            result.append(
                Alarm(
                    turbine=turbine,
                    time=str(scada.time[(block + 1) * BLOCK - 1] + STEP)[:16],
                    deviation=float(np.expm1(deviation)),
                    score=float(scores[row, i, at]),
                    days=window / PER_DAY,
                    reason=neighbors.reason(i, at, window, deviation),
                )
            )
    return sorted(result, key=lambda alarm: alarm.time)
