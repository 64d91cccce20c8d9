"""Watch a farm from its records to its alarms."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...bar import Bar
from ...catalog import text
from ...errors import check_count
from ..verdicts import checksum
from .monitor import (
    BLOCK,
    FOLDS,
    PER_DAY,
    AlarmDetector,
    CrossFit,
    Yield,
    deviations,
    folds,
    spans,
)
from .power import STEPS, ExpectedPower, train
from .reasons import Neighbors
from .scada import STEP, Scada, ScadaError

LEAST_DAYS = 105  # of a reference period
LEAST_STEPS = 1000  # of a turbine's running time in it


@dataclass(frozen=True)
class TurbineAlarm:
    """An alarm.

    Attributes:
        turbine: its name.
        time: the end of the six hours in which the alarm was raised, in the time of the
            records (UTC, if they have a zone).
        deviation: of the yield against the neighbors', a part of the expected energy, when
            it was clearest.
        score: the deviation in units of its usual spread.
        days: the length of the window in which it was clearest.
        reason: one of the keys of `reasons.Neighbors.reason`, or "back" after an earlier
            alarm of the other sign.
    """

    turbine: str
    time: str
    deviation: float
    score: float
    days: float
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the alarm as a verdict's line has it."""
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
        judged: the part of the watched time in which each turbine could be judged, `[N]`.
        model: the checksum of the networks' weights.
    """

    scada: Scada
    start: int
    expected_kw: np.ndarray
    energy: Yield
    detector: AlarmDetector
    alarms: tuple[TurbineAlarm, ...]
    judged: np.ndarray
    model: str


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
        healthy_until: a date like 2015-01-01, in UTC if the records have a zone. Before it
            must lie at least 105 days of records, of which most are healthy. Only a year
            shows the turbines all seasons.
        steps: of training, for each of the four networks.

    Raises:
        ScadaError: if there are too few records before or after the date, of the farm or of
            a turbine.
        ValueError: if `steps` is less than 1.
    """
    check_count("steps", steps)
    start = len(scada.between(stop=healthy_until)) // BLOCK * BLOCK
    if start < LEAST_DAYS * 144 or len(scada) - start < BLOCK:
        raise ScadaError(
            f"healthy_until must leave at least {LEAST_DAYS} days before it and 6 hours "
            f"after it; the records run from {str(scada.time[0])[:16]} to "
            f"{str(scada.time[-1])[:16]}, and it is {healthy_until}."
        )
    reference = scada.part(0, start)
    _check_turbines(reference)
    model = _cross_fit(reference, steps, seed, progress)
    expected = model(scada)
    energy = Yield.of(scada, expected)
    detector = AlarmDetector.fit(energy.part(0, start // BLOCK))
    for spread in detector.spreads.values():
        _refuse(reference, ~np.isfinite(spread))
    neighbors = Neighbors.of(scada, expected, model.models[0].curves, slice(0, start))
    raised, judged = _alarms(scada, energy, detector, neighbors, start // BLOCK)
    weights = checksum(*[each.network for each in model.models])
    alarms = tuple(raised)
    return Watched(scada, start, expected, energy, detector, alarms, judged, weights)


def _check_turbines(reference: Scada) -> None:
    running = (reference.power > 0) & np.isfinite(reference.wind)
    _refuse(reference, running.sum(1) < LEAST_STEPS)


def _refuse(reference: Scada, which: np.ndarray) -> None:
    if which.any():
        names = ", ".join(np.array(reference.turbines)[which])
        raise ScadaError(
            f"Before {str(reference.time[-1] + STEP)[:16]}, there are too few hours in "
            f"which {names} and the neighbors ran in enough wind. Choose a later date, or "
            f"leave it out of the records."
        )


def _cross_fit(reference: Scada, steps: int, seed: int, progress: bool) -> CrossFit:
    fold, models = folds(reference.time, reference.time[0]), list[ExpectedPower]()
    with Bar(FOLDS, progress, text("wind.networks")) as bar:
        for number in range(FOLDS):
            models.append(
                train(reference, fold != number, steps=steps, seed=seed + number)
            )
            bar.advance(1)
    return CrossFit(tuple(models), reference.time[0], reference.time[-1] + STEP)


def _alarms(
    scada: Scada,
    energy: Yield,
    detector: AlarmDetector,
    neighbors: Neighbors,
    first: int,
) -> tuple[list[TurbineAlarm], np.ndarray]:
    active, scores = detector.judge(energy)
    windows, turbines = [*detector.limits], range(len(scada.turbines))
    filled = np.nan_to_num(scores)
    row = np.abs(filled).argmax(0)  # [N, K]
    lead = np.take_along_axis(filled, row[None], 0)[0]
    result: list[TurbineAlarm] = []
    for i in turbines:
        for begin, end in spans(active[i, first:], lead[i, first:]):
            begin, end = first + begin, first + end
            sign = np.sign(lead[i, begin])
            at = begin + int((sign * lead[i, begin:end]).argmax())
            window = windows[row[i, at]]
            out = np.delete(active, i, 0)
            deviation, _ = deviations(energy, window, np.insert(out, i, False, 0))
            change = float(deviation[i, at])
            earlier = any(a.turbine == scada.turbines[i] for a in result)
            back = earlier and np.sign(result[-1].deviation) != sign
            result.append(
                TurbineAlarm(
                    turbine=scada.turbines[i],
                    time=str(scada.time[(begin + 1) * BLOCK - 1] + STEP)[:16],
                    deviation=float(np.expm1(change)),
                    score=float(lead[i, at]) * detector.limits[window],
                    days=window / PER_DAY,
                    reason="back" if back else neighbors.reason(i, at, window, change),
                )
            )
    judged = np.isfinite(scores[:, :, first:]).any(0).mean(1)
    return sorted(result, key=lambda alarm: alarm.time), judged
