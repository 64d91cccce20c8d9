r"""Watch a farm: does a turbine give less, or more, than its neighbors let expect?

Energy is summed over blocks of six hours. Over a window of blocks W, the change of a
turbine's yield against the 60 days before it is

.. math:: g = \log \frac{\sum_W P}{\sum_W \hat P}, \qquad c = g_W - g_\text{before}, \qquad
          d_i = c_i - \operatorname{median}_{j \ne i} c_j

What all turbines share (seasons, air, snow) cancels in :math:`d_i`, and the slow drifts of
a few percent that turbines show over the months cancel in c. Divided by its spread in the
reference period, d is a score. An alarm is raised where the score leaves its limits for one
of several windows. Of the turbines that alarm, the one with the largest deviation is then
no neighbor any more, and the others are judged again without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from .power import LOAD, STOPPED, ExpectedPower, farm_median
from .scada import Scada

BLOCK = 36  # steps: 6 hours
PER_DAY = 4  # blocks
# blocks of a window (3, 7 and 14 days): the limit of its score, chosen on 2014
LIMITS = {12: 6.0, 28: 5.0, 56: 4.5}
MEMORY = 60 * PER_DAY  # blocks before a window, with which it is compared
ENOUGH = 0.05  # of the rated energy; a window with less wind says nothing
NEIGHBORS = 2  # at least so many must be comparable
CALM = 0.1  # windows with so little load vary by a factor of sqrt(2) more
SAME, SAME_COARSE, FINE = 6, 24, 0.05  # equal values of a stuck sensor; m/s
LEAST = 30 * PER_DAY  # blocks in the reference period that measure a spread
QUIET = 7 * PER_DAY  # blocks after which a new alarm is another one
FOLDS, FOLD_DAYS = 4, 15


@dataclass(frozen=True, eq=False)
class Yield:
    """What turbines gave and what was expected, in blocks of six hours.

    Attributes:
        given, expected: energy in hours of rated power, `[N, K]`, of the steps in which a
            turbine ran and could be compared.
    """

    given: np.ndarray
    expected: np.ndarray

    @classmethod
    def of(cls, scada: Scada, expected_kw: np.ndarray) -> "Yield":
        return cls(
            *(
                _blocks(
                    np.where(comparable(scada, expected_kw), x, 0) / scada.rated_kw / 6
                )
                for x in (scada.power, expected_kw)
            )
        )

    def __len__(self) -> int:
        return self.given.shape[1]

    def part(self, low: int, high: int) -> "Yield":
        """Return the blocks from one number on and before another."""
        return Yield(self.given[:, low:high], self.expected[:, low:high])

    def replaced(self, turbine: int, other: "Yield", start: int) -> "Yield":
        """Return a copy in which one turbine is that of another farm from a block on."""
        parts = []
        for own, its in ((self.given, other.given), (self.expected, other.expected)):
            copy = own.copy()
            copy[turbine, start : start + its.shape[1]] = its[turbine]
            parts.append(copy)
        return Yield(*parts)


def comparable(scada: Scada, expected_kw: np.ndarray) -> np.ndarray:
    """Return where a turbine ran and its power can be compared, `[N, T]`.

    Turbines that stand still, are throttled to less than 40 % of what is expected, or have
    a stuck wind sensor are left out: that is seen without a model.
    """
    with np.errstate(invalid="ignore"):
        loaded = expected_kw > LOAD * scada.rated_kw
        runs = scada.power > STOPPED * expected_kw
    return loaded & runs & ~stuck(scada.wind)


def stuck(wind: np.ndarray) -> np.ndarray:
    """Return where the wind has shown the same value for an hour, `[N, T]`.

    A sensor that shows only steps of more than 0.05 m/s may do so for four hours.
    """
    moves = np.round(np.abs(np.diff(wind, axis=1)), 3)
    finest = np.min(moves, where=moves > 0, initial=np.inf)
    count = SAME if finest <= FINE else SAME_COARSE
    same = np.zeros(wind.shape, bool)
    same[:, 1:] = (wind[:, 1:] == wind[:, :-1]) & (wind[:, 1:] > 2)
    total, repeats = np.cumsum(same, 1), count - 1
    ends = np.zeros(wind.shape, bool)
    ends[:, repeats:] = total[:, repeats:] - total[:, :-repeats] == repeats
    result = ends.copy()
    for back in range(1, count):
        result[:, :-back] |= ends[:, back:]
    return result


def _blocks(x: np.ndarray) -> np.ndarray:
    """Sum blocks of six hours; the last one is left out if it is not full."""
    count = x.shape[1] // BLOCK
    return np.nan_to_num(x[:, : count * BLOCK]).reshape(len(x), count, BLOCK).sum(2)


def deviations(
    energy: Yield, window: int, out: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the deviation of each window that ends with a block, and its load.

    Both have the shape `[N, K]`. A deviation is NaN if there was too little wind in the
    window or before it, or if fewer than two neighbors can be compared.

    Args:
        out: which turbines are no neighbors in which blocks, `[N, K]`.
    """
    change, load = _changes(energy, window)
    return _against_neighbors(change, out), load


def _changes(energy: Yield, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return each turbine's change against the 60 days before, and the window's load."""
    now, load = _own(energy, window)
    before, _ = _own(energy, MEMORY)
    shifted = np.full_like(before, np.nan)
    shifted[:, window:] = before[:, :-window]
    return now - shifted, load


def _own(energy: Yield, window: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the log yield and the expected load of each window, `[N, K]`."""
    given, expected = (_sums(x, window) for x in (energy.given, energy.expected))
    load = expected / (6.0 * window)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(load > ENOUGH, np.log(given / expected), np.nan), load


def _against_neighbors(change: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    usable = change if out is None else np.where(out, np.nan, change)
    rows = [
        own - farm_median(np.delete(usable, i, 0), NEIGHBORS)
        for i, own in enumerate(change)
    ]
    return np.stack(rows)


def _sums(x: np.ndarray, window: int) -> np.ndarray:
    """Return the sums of the `window` blocks up to each one; NaN before the first."""
    total = np.cumsum(np.pad(x, ((0, 0), (1, 0))), 1, dtype=float)
    sums = np.full(x.shape, np.nan)
    if x.shape[1] >= window:
        sums[:, window - 1 :] = total[:, window:] - total[:, :-window]
    return sums


@dataclass(frozen=True, eq=False)
class AlarmDetector:
    """Raises alarms.

    Attributes:
        spreads: per window, the spread of each turbine's deviations, `[N]`.
        limits: per window, that of the score.
    """

    spreads: Mapping[int, np.ndarray]
    limits: Mapping[int, float] = field(default_factory=LIMITS.copy)

    @classmethod
    def fit(
        cls, energy: Yield, limits: Mapping[int, float] = LIMITS
    ) -> "AlarmDetector":
        """Measure the spreads in a reference period (scaled median deviations)."""
        spreads = {}
        for window in limits:
            x = _weighed(*deviations(energy, window))
            spreads[window] = np.array([_spread(row[np.isfinite(row)]) for row in x])
        return cls(spreads, dict(limits))

    def judge(self, energy: Yield) -> tuple[np.ndarray, np.ndarray]:
        """Judge each turbine at the end of each block.

        Returns:
            Where a turbine alarms, `[N, K]`, and the scores of all windows that end with
            the block, divided by their limits, `[3, N, K]`.
        """
        count, blocks = energy.given.shape
        changes = {window: _changes(energy, window) for window in self.spreads}
        out, every = np.zeros((count, blocks), bool), np.arange(blocks)
        while True:
            sizes, scores = self._scores(changes, out)
            over = (np.nan_to_num(np.abs(scores)) > 1) & ~out
            worst = np.where(over, np.abs(sizes), 0).max(0)  # [N, K]
            largest = worst.argmax(0)
            new = worst[largest, every] > 0
            if not new.any():
                return out, scores
            out[largest[new], every[new]] = True

    def active(self, energy: Yield) -> np.ndarray:
        """Return where a turbine alarms, `[N, K]`."""
        return self.judge(energy)[0]

    def _scores(
        self, changes: Mapping[int, tuple], out: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighed deviations, and the same divided by their limits."""
        sizes, limits = [], []
        for window, spread in self.spreads.items():
            change, load = changes[window]
            sizes.append(_weighed(_against_neighbors(change, out), load))
            limits.append(self.limits[window] * np.where(spread > 0, spread, np.nan))
        return np.stack(sizes), np.stack(sizes) / np.stack(limits)[:, :, None]


def _spread(x: np.ndarray) -> float:
    """Return the scaled median deviation from 0; NaN if there are too few values."""
    return float(1.4826 * np.median(np.abs(x))) if len(x) >= LEAST else float("nan")


def _weighed(deviation: np.ndarray, load: np.ndarray) -> np.ndarray:
    return deviation * np.sqrt(load / (load + CALM))


def alarms(active: np.ndarray) -> list[int]:
    """Return the blocks in which an alarm begins, of one turbine, `[K]`.

    What comes less than a week after an active block belongs to the same alarm.
    """
    on = np.flatnonzero(active)
    first = np.diff(on, prepend=-QUIET - 1) > QUIET
    return [int(block) for block in on[first]]


def spans(active: np.ndarray, score: np.ndarray) -> list[tuple[int, int]]:
    """Return the first block of each alarm of one turbine, and the block after its last.

    An alarm whose score changes its sign, as after a repair, is cut in two.

    Args:
        score: the largest of a turbine's scores, with its sign, `[K]`.
    """
    begins = alarms(active)
    result = []
    for begin, end in pairwise([*begins, len(active)]):
        on = begin + np.flatnonzero(active[begin:end])
        signs = np.sign(score[on])
        cuts = [*on[np.flatnonzero(np.diff(signs, prepend=0))], on[-1] + 1]
        result += [(int(a), int(b)) for a, b in pairwise(cuts)]
    return result


@dataclass(frozen=True, eq=False)
class CrossFit:
    """A model of the reference period whose expectations there are honest.

    The period is cut into runs of 15 days, which are dealt to four folds. What is expected
    in a fold comes from a network that has not seen it; what is expected later, from the
    mean of all four.
    """

    models: tuple[ExpectedPower, ...]
    start: np.datetime64
    stop: np.datetime64

    def __call__(self, scada: Scada) -> np.ndarray:
        """Return the expected power in kW, `[N, T]`, for the turbines of the reference."""
        each = np.stack([model(scada) for model in self.models])
        fold = folds(scada.time, self.start)
        inside = (scada.time >= self.start) & (scada.time < self.stop)
        own = np.take_along_axis(each, fold[None, None, :], 0)[0]
        return np.where(inside, own, each.mean(0))


def folds(time: np.ndarray, start: np.datetime64) -> np.ndarray:
    """Return the fold of each step, from 0 to 3, `[T]`."""
    days = (time - start) // np.timedelta64(1, "D")
    return (days // FOLD_DAYS).astype(int) % FOLDS
