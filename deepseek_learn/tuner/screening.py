"""Choose the next trial: children are bred on the surrogate, and the one that promises
the largest gain in hypervolume is tried.

Gains are estimated along directions: for weights w drawn over the positive sphere, a
point x reaches t(x) = min_m (r_m - x_m) / w_m from the reference r, and the hypervolume
of a set is, but for a constant, the mean over w of (max over the set of t)^M
(Deng & Zhang 2019, Approximating hypervolume and hypervolume contributions using polar
coordinate, IEEE Transactions on Evolutionary Computation 23(5)). That costs little
enough to look at hundreds of children for each trial.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .encoding import Encoding
from .genetic import crossover, mutate, select
from .pareto import nondominated_rank
from .surrogate import GaussianProcess, fit_lengths, soften

DIRECTIONS = 200
NEAREST = 0.02  # a child nearer to a trial, a hyperparameter, is no new one
LAST, STALLED = 5, 0.02  # the last 5 trials brought less than 2 % of hypervolume
REFIT = 1.25  # lengths are fitted anew whenever there are so many times the trials
MOST = 300  # trials that a model is made of
TRUSTED = 4  # trials, a hyperparameter, before the whole space is looked at


@dataclass(frozen=True)
class History:
    """What is known.

    Attributes:
        points: `[N, D]` in the unit cube.
        losses: `[N, M]`, to be minimized; NaN in the rows of trials that failed.
        violations: `[N, K]`, at most 0 where a limit is kept; K may be 0.
        pending: `[P, D]`, trials that other workers are at.
    """

    points: np.ndarray
    losses: np.ndarray
    violations: np.ndarray
    pending: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def first(self, count: int) -> "History":
        parts = self.points, self.losses, self.violations
        return History(*(part[:count] for part in parts), self.pending)

    def filled(self) -> "History":
        """With the worst of the others' losses for those that failed.

        They are no gap in the knowledge: where trainings diverge, they will again.
        """
        failed = np.isnan(self.losses).any(1)
        others = self.losses[~failed]
        losses = self.losses.copy()
        losses[failed] = others.max(0) if len(others) else 0.0
        return History(self.points, losses, self.violations, self.pending)

    def ranks(self) -> np.ndarray:
        """`[N]`: fronts of those that keep the limits, then the others by excess.

        Each limit's excess counts by its share of the largest: units differ.
        """
        largest = np.maximum(np.abs(self.violations).max(0), 1e-12)
        excess = (np.maximum(self.violations, 0) / largest).sum(1)
        ranks = np.empty(len(self), dtype=float)
        kept = excess == 0
        if kept.any():
            ranks[kept] = nondominated_rank(self.losses[kept])
        ranks[~kept] = len(self) + np.argsort(np.argsort(excess[~kept]))
        return ranks


class Models:
    """A Gaussian process for each objective and each limit.

    Attributes:
        losses: `[N, M]` of the history, softened and standardized.
    """

    def __init__(self, encoding: Encoding, history: History, logs: list[np.ndarray]):
        features = encoding.features(history.points)
        self._encoding, self._center = encoding, []
        columns = [soften(column) for column in history.losses.T]
        scaled = [_standard(column) for column in columns]
        self.losses = np.stack([column for column, _ in scaled], axis=1)
        limits = [_standard(column) for column in history.violations.T]
        # a limit's zero, in the scale of its model
        self._zeros = np.array([zero for _, zero in limits])
        every = [*self.losses.T, *(column for column, _ in limits)]
        self._processes = [
            GaussianProcess(features, column, encoding.owner, log)
            for column, log in zip(every, logs, strict=True)
        ]

    def losses_at(self, points: np.ndarray, spreads: float = 0.0) -> np.ndarray:
        """`[N, M]`, less so many standard deviations."""
        features = self._encoding.features(points)
        count = self.losses.shape[1]
        some = self._processes[:count]
        return np.stack([p.optimistic(features, spreads) for p in some], axis=1)

    def excess_at(self, points: np.ndarray) -> np.ndarray:
        """By how much the limits are likely broken, `[N]`; 0 where they are kept."""
        limits = self._processes[self.losses.shape[1] :]
        if not limits:
            return np.zeros(len(points))
        features = self._encoding.features(points)
        values = np.stack([p.mean(features) for p in limits], axis=1)
        return np.maximum(values - self._zeros, 0).sum(1)


def lengths(encoding: Encoding, history: History) -> list[np.ndarray]:
    """`fit_lengths` of each objective and limit."""
    features = encoding.features(history.points)
    columns = [soften(c) for c in history.losses.T] + [*history.violations.T]
    scaled = [_standard(column)[0] for column in columns]
    return [fit_lengths(features, column, encoding.owner) for column in scaled]


def last_refit(trials: int, startup: int) -> int:
    """With how many of the first `trials` the lengths are fitted."""
    count = startup
    while int(np.ceil(count * REFIT)) <= trials:
        count = int(np.ceil(count * REFIT))
    return min(count, trials)


class Promise:
    """How much a point with these losses would gain, against a front.

    Args:
        front: `[N, M]`, what is there, also what other workers are expected to find.
        reference: `[M]`, from which hypervolume is counted.
        low: `[M]`, the best of each objective: it scales the directions.
    """

    def __init__(self, front, reference, low, rng: np.random.Generator):
        size = front.shape[1]
        sphere = np.abs(rng.standard_normal((DIRECTIONS, size)))
        sphere /= np.linalg.norm(sphere, axis=1)[:, None]
        self._weights = sphere * np.maximum(reference - low, 1e-9)
        self._reference, self._power = reference, size
        self._best = np.maximum(self.reach(front).max(0), 0)

    def reach(self, losses: np.ndarray) -> np.ndarray:
        """t of each point along each direction, `[N, directions]`."""
        gaps = (self._reference - losses).T[:, :, None] / self._weights.T[:, None, :]
        return gaps.min(0)  # [M, N, directions]: the short axis first is much quicker

    def gain(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Gain of each point, and how far it reaches at best (below 0: not at all)."""
        reach = self.reach(losses)
        larger = np.maximum(reach, self._best) ** self._power
        return (larger - self._best**self._power).mean(1), reach.max(1)


def propose(
    encoding: Encoding,
    history: History,
    logs: list[np.ndarray],
    rng: np.random.Generator,
    population: int,
    generations: int,
    children: int,
) -> np.ndarray:
    """The next trial's point `[D]`.

    While the front moves, the surrogate's mean is trusted, and the reference is drawn
    anew each time, so that now the middle of the front and now its ends are sought.
    With few trials it is the middle, and only the parents' children are looked at: far
    from the trials the surrogate knows too little. When the front has stalled, every
    second trial looks where the surrogate is unsure.
    """
    trust = min(1.0, len(history) / (TRUSTED * history.points.shape[1]))
    models = Models(encoding, history, logs)
    parents = select(models.losses, population, history.ranks())
    explore = _stalled(models.losses, parents) and rng.random() < 0.5
    spreads, generations = (2.0, 1) if explore else (0.0, generations)
    ranks = history.ranks()
    # where no trial keeps the limits, the one that is nearest to them
    front = models.losses[ranks == ranks.min()]
    if len(history.pending):
        front = np.vstack([front, models.losses_at(history.pending)])
    low = front.min(0)
    if explore:
        # by turns beyond the front's ends: from the worst of all trials they count most
        some = front if rng.random() < 0.5 else models.losses
        span = np.maximum(np.ptp(some, axis=0), 1e-3)
        reference = some.max(0) + 0.1 * span
    else:
        worst = models.losses[parents].max(0)
        reference = low + (worst - low + 1e-3) * rng.uniform(0.2, 0.6 + 0.5 * trust)
    promise = Promise(front, reference, low, rng)

    def look(points: np.ndarray) -> tuple[np.ndarray, ...]:
        gain, reach = promise.gain(models.losses_at(points, spreads))
        return models.excess_at(points), gain, reach

    strangers = children // 4 if trust == 1 and not explore else 0
    mates = history.points[parents]
    bred, found = _breed(encoding, mates, look, rng, generations, children, strangers)
    excess, gain, reach = found
    order = np.lexsort((-reach, -gain, excess))
    fresh = _fresh(encoding, bred[order], history)
    return bred[order][fresh][0]


def _breed(
    encoding: Encoding,
    parents: np.ndarray,
    look: Callable,
    rng: np.random.Generator,
    generations: int,
    children: int,
    strangers: int,
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """All children of some generations, each of the best of those before it.

    Args:
        strangers: how many of the first generation have no parents.

    Returns:
        `[N, D]`, and what `look` tells of them.
    """
    bred, told, size, found = [], [], len(parents), look(parents)
    for generation in range(generations):
        pairs = rng.integers(len(parents), size=(2, children))
        eta = (5, 5) if generation == 0 else (15, 20)  # wide first, then near
        young = crossover(
            parents[pairs[0]], parents[pairs[1]], encoding.categories, rng, eta[0]
        )
        young = mutate(
            young, encoding.categories, rng, 1.5 / young.shape[1], eta=eta[1]
        )
        if generation == 0:
            young[:strangers] = rng.random((strangers, young.shape[1]))
        young = encoding.snap(young)
        bred.append(young)
        told.append(look(young))
        together = np.vstack([parents, young])
        found = [np.append(a, b) for a, b in zip(found, told[-1], strict=True)]
        excess, gain, reach = found
        best = np.lexsort((-reach, -gain, excess))[:size]
        parents, found = together[best], [part[best] for part in found]
    every = (np.concatenate(part) for part in zip(*told, strict=True))
    return np.vstack(bred), tuple(every)


def _fresh(encoding: Encoding, points: np.ndarray, history: History) -> np.ndarray:
    """Bool `[N]`: those that are not, or nearly, trials already; all where none is new."""
    known = encoding.features(np.vstack([history.points, history.pending]))
    some = encoding.features(points)
    squares = (some**2).sum(1)[:, None] + (known**2).sum(1) - 2 * some @ known.T
    new = squares.min(1) >= NEAREST**2 * points.shape[1]
    return new if new.any() else ~new


def _stalled(losses: np.ndarray, parents: np.ndarray) -> bool:
    """Whether the last trials added next to nothing to the hypervolume."""
    if len(losses) <= LAST:
        return False
    low, worst = losses.min(0), losses[parents].max(0)
    reference = worst + 0.1 * (worst - low)
    same = np.random.default_rng(0)  # the same directions for both
    promise = Promise(losses[:1], reference, low, same)
    reach = np.maximum(promise.reach(losses), 0) ** losses.shape[1]
    now, before = reach.max(0).mean(), reach[:-LAST].max(0).mean()
    return now - before < STALLED * now


def _standard(column: np.ndarray) -> tuple[np.ndarray, float]:
    """Mean 0, spread 1; and where 0 came to lie."""
    mean, spread = column.mean(), max(column.std(), 1e-12)
    return (column - mean) / spread, -mean / spread
