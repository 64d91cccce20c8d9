r"""How well faults are found: within some days, and by the CARE score.

CARE joins four figures of many windows of records, half of them with a fault (Gück,
Roelofs and Faulstich 2024, "CARE to Compare", Data 9, 138):

.. math:: \mathrm{CARE} = \frac{F + W + E + 2A}{5}

- coverage F: the mean over the windows with a fault of :math:`F_{1/2}` of their steps;
- earliness W: the mean over them of the part of the fault that was detected, of which the
  first half counts fully and the rest less and less;
- reliability E: :math:`F_{1/2}` of the windows; one is detected if its criticality, which
  grows with each detected step and shrinks with each other one, reaches 12 hours;
- accuracy A: the mean over the healthy windows of the part of their steps without alarm.

If A is below 1/2, the score is A; if no fault was detected, it is 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

CRITICAL_HOURS = 12


def first(active: np.ndarray, start: int) -> int | None:
    """Return the number of the first active block from `start` on, counted from there."""
    on = np.flatnonzero(active[start:])
    return int(on[0]) if len(on) else None


def hit(active: np.ndarray, untouched: np.ndarray, onset: int, blocks: int) -> bool:
    """Return whether a fault was found within some blocks after its onset.

    It counts only if the untouched records alarm later, or not at all.

    Args:
        active, untouched: where the records with and without the fault alarm, `[K]`.
        onset: the block in which the fault begins.
    """
    alarm, anyway = first(active, onset), first(untouched, onset)
    return alarm is not None and alarm < blocks and (anyway is None or alarm < anyway)


@dataclass(frozen=True, eq=False)
class Window:
    """A window of records of one turbine.

    Attributes:
        detected: where the detector alarms, `[K]`.
        faulty: where the fault is, `[K]`.
    """

    detected: np.ndarray
    faulty: np.ndarray


@dataclass(frozen=True)
class Care:
    """The four parts of the score."""

    coverage: float
    accuracy: float
    reliability: float
    earliness: float
    detected: int

    @property
    def score(self) -> float:
        if not self.detected:
            return 0.0
        if self.accuracy < 0.5:
            return self.accuracy
        parts = self.coverage + self.earliness + self.reliability + 2 * self.accuracy
        return parts / 5


def care(windows: Sequence[Window], block_hours: float) -> Care:
    """Return the score of windows of blocks of some hours.

    Raises:
        ValueError: if there is no window with a fault, or none without.
    """
    bad = [w for w in windows if w.faulty.any()]
    good = [w for w in windows if not w.faulty.any()]
    if not bad or not good:
        raise ValueError("CARE needs windows with a fault and windows without one.")
    limit = CRITICAL_HOURS / block_hours
    hits = sum(critical(w.detected, limit) for w in bad)
    false = sum(critical(w.detected, limit) for w in good)
    return Care(
        coverage=float(np.mean([_points(w) for w in bad])),
        accuracy=float(np.mean([1 - w.detected.mean() for w in good])),
        reliability=f_half(hits, false, len(bad) - hits),
        earliness=float(np.mean([_early(w) for w in bad])),
        detected=hits,
    )


def f_half(hits: int, false: int, missed: int) -> float:
    """Return F with beta = 1/2, in which precision counts twice as much as recall."""
    return 1.25 * hits / (1.25 * hits + 0.25 * missed + false) if hits else 0.0


def critical(detected: np.ndarray, limit: float) -> bool:
    """Return whether the criticality reaches a limit, in blocks."""
    level = 0
    for on in detected:
        level = level + 1 if on else max(0, level - 1)
        if level >= limit:
            return True
    return False


def _points(window: Window) -> float:
    on, bad = window.detected, window.faulty
    return f_half(int((on & bad).sum()), int((on & ~bad).sum()), int((~on & bad).sum()))


def _early(window: Window) -> float:
    """Return the weighted part of the fault that was detected."""
    during = window.detected[window.faulty]
    at = (np.arange(len(during)) + 0.5) / len(during)
    weight = np.minimum(1, 2 * (1 - at))
    return float((weight * during).sum() / weight.sum())
