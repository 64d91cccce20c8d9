"""Acquisition: breed children on the surrogate, and try the one with the largest
predicted gain in hypervolume next.

Gains are estimated along directions: for weights w drawn from the positive unit sphere, a
point x reaches t(x) = min_m (r_m - x_m) / w_m from the reference r, and the hypervolume
of a set is, up to a constant, the mean over w of (max over the set of t)^M
(Deng & Zhang 2019, "Approximating hypervolume and hypervolume contributions using polar
coordinate", IEEE Transactions on Evolutionary Computation 23(5)). This is cheap
enough to evaluate hundreds of children per trial.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .encoding import Encoding
from .genetic import crossover, mutate, select
from .pareto import nondominated_rank
from .surrogate import GaussianProcess, fit_lengths, soften

DIRECTIONS = 200
NEAREST = 0.02  # a child within this distance per hyperparameter is a duplicate
LAST, STALLED = 5, 0.02  # the last 5 trials added less than 2 % of the hypervolume
REFIT = 1.25  # refit the length scales when the trial count grows by this factor
MOST = 300  # maximum number of trials that a model is fitted to
TRUSTED = 4  # trials per hyperparameter needed to search the whole space


@dataclass(frozen=True)
class History:
    """The trials so far.

    Attributes:
        points: the trials' points `[N, D]` in the unit cube.
        losses: `[N, M]`, to be minimized; NaN in the rows of failed trials.
        violations: `[N, K]`, at most 0 where a limit is met; K may be 0.
        pending: `[P, D]`, the points of trials that other workers are running.
    """

    points: np.ndarray
    losses: np.ndarray
    violations: np.ndarray
    pending: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def first(self, count: int) -> "History":
        return self.subset(slice(count))

    def subset(self, trials: np.ndarray | slice) -> "History":
        """Return the trials with these indices; keep all pending ones."""
        parts = (self.points[trials], self.losses[trials], self.violations[trials])
        return History(*parts, self.pending)

    def filled(self) -> "History":
        """Return a copy in which failed trials get the worst losses of the others.

        Failed trials are informative: where training diverges, it will do so again.
        """
        failed = np.isnan(self.losses).any(1)
        others = self.losses[~failed]
        losses = self.losses.copy()
        losses[failed] = others.max(0) if len(others) else 0.0
        return History(self.points, losses, self.violations, self.pending)

    def ranks(self) -> np.ndarray:
        """Rank the trials, `[N]`: feasible ones by front, then the others by excess.

        Each limit's excess is divided by its largest value, since units differ.
        """
        largest = np.maximum(np.abs(self.violations).max(0), 1e-12)
        excess = (np.maximum(self.violations, 0) / largest).sum(1)
        ranks = np.empty(len(self), dtype=float)
        feasible = excess == 0
        if feasible.any():
            ranks[feasible] = nondominated_rank(self.losses[feasible])
        ranks[~feasible] = len(self) + np.argsort(np.argsort(excess[~feasible]))
        return ranks


class Models:
    """A Gaussian process for each objective and each limit.

    Attributes:
        losses: the history's losses `[N, M]`, softened and standardized.
    """

    def __init__(self, encoding: Encoding, history: History, logs: list[np.ndarray]):
        features = encoding.features(history.points)
        self._encoding = encoding
        columns = [soften(column) for column in history.losses.T]
        scaled = [_standard(column) for column in columns]
        self.losses = np.stack([column for column, _ in scaled], axis=1)
        limits = [_standard(column) for column in history.violations.T]
        # a limit's zero, on the scale of its model
        self._zeros = np.array([zero for _, zero in limits])
        targets = [*self.losses.T, *(column for column, _ in limits)]
        self._processes = [
            GaussianProcess(features, column, encoding.owner, log)
            for column, log in zip(targets, logs, strict=True)
        ]

    def losses_at(self, points: np.ndarray, spreads: float = 0.0) -> np.ndarray:
        """Predict the losses `[N, M]`, minus `spreads` standard deviations."""
        features = self._encoding.features(points)
        count = self.losses.shape[1]
        processes = self._processes[:count]
        return np.stack([p.optimistic(features, spreads) for p in processes], axis=1)

    def excess_at(self, points: np.ndarray) -> np.ndarray:
        """Predict the excess over the limits, `[N]`; 0 where they are met."""
        limits = self._processes[self.losses.shape[1] :]
        if not limits:
            return np.zeros(len(points))
        features = self._encoding.features(points)
        values = np.stack([p.mean(features) for p in limits], axis=1)
        return np.maximum(values - self._zeros, 0).sum(1)


def lengths(encoding: Encoding, history: History) -> list[np.ndarray]:
    """Fit the length scales of each objective and each limit (`fit_lengths`)."""
    features = encoding.features(history.points)
    columns = [soften(c) for c in history.losses.T] + [*history.violations.T]
    scaled = [_standard(column)[0] for column in columns]
    return [fit_lengths(features, column, encoding.owner) for column in scaled]


def last_refit(trials: int, startup: int) -> int:
    """Return the number of initial trials that the length scales are fitted to."""
    count = startup
    while int(np.ceil(count * REFIT)) <= trials:
        count = int(np.ceil(count * REFIT))
    return min(count, trials)


class Acquisition:
    """The acquisition function: the gain in hypervolume over a front.

    Args:
        front: `[N, M]`, the losses so far, and those predicted for pending trials.
        reference: `[M]`, the corner from which hypervolume is measured.
        low: `[M]`, the best value of each objective; it scales the directions.
    """

    def __init__(
        self,
        front: np.ndarray,
        reference: np.ndarray,
        low: np.ndarray,
        rng: np.random.Generator,
    ):
        size = front.shape[1]
        sphere = np.abs(rng.standard_normal((DIRECTIONS, size)))
        sphere /= np.linalg.norm(sphere, axis=1)[:, None]
        self._weights = sphere * np.maximum(reference - low, 1e-9)
        self._reference, self._power = reference, size
        self._best = np.maximum(self.reach(front).max(0), 0)

    def reach(self, losses: np.ndarray) -> np.ndarray:
        """Return t of each point along each direction, `[N, directions]`."""
        gaps = (self._reference - losses).T[:, :, None] / self._weights.T[:, None, :]
        return gaps.min(0)  # [M, N, directions]: the short axis first is much faster

    def gain(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return each point's gain and its largest reach (below 0 means no gain)."""
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
    """Propose the point `[D]` of the next trial.

    While the front improves, the surrogate's mean is trusted, and the reference is
    sampled for each trial, so that the search varies between the middle and the ends of
    the front. With few trials it stays in the middle, and all children descend from the
    parents: far from the trials the surrogate is unreliable. Once the front has stalled,
    every second trial, on average, explores where the surrogate is uncertain.
    """
    # 1. fit the models to all trials; trust in them grows to 1 with the trials
    trust = min(1.0, len(history) / (TRUSTED * history.points.shape[1]))
    models = Models(encoding, history, logs)
    ranks = history.ranks()  # [N], 0 is the best front
    parents = select(models.losses, population, ranks)  # indices of trials
    # 2. exploit the models' mean, or explore where they are uncertain: the mean alone
    # would propose the same region forever once it is wrong there
    explore = _stalled(models.losses, parents) and rng.random() < 0.5
    spreads, generations = (2.0, 1) if explore else (0.0, generations)
    # 3. the front to improve on; if no trial meets the limits, those closest to them
    front = models.losses[ranks == ranks.min()]  # [F, M]
    if len(history.pending):
        # as if they had ended as predicted; otherwise, two workers could try one point
        front = np.vstack([front, models.losses_at(history.pending)])
    # 4. the reference `[M]` from which the gain in hypervolume is measured
    low = front.min(0)
    if explore:
        reference = _far_reference(front, models.losses, rng)
    else:
        reference = _near_reference(low, models.losses[parents].max(0), trust, rng)
    acquisition = Acquisition(front, reference, low, rng)

    def score(points: np.ndarray) -> tuple[np.ndarray, ...]:
        gain, reach = acquisition.gain(models.losses_at(points, spreads))
        return models.excess_at(points), gain, reach

    # 5. breed on the models, which costs no training. Add random immigrants only where
    # the mean is trusted: otherwise, a child far from all trials may wrongly look best
    immigrants = children // 4 if trust == 1 and not explore else 0
    mates = history.points[parents]
    bred, scores = _breed(
        encoding, mates, score, rng, generations, children, immigrants
    )  # [generations x children, D]
    excess, gain, reach = scores
    # 6. take the best child that is new: limits first, then gain, then reach, which
    # still ranks the children when none of them gains anything
    order = np.lexsort((-reach, -gain, excess))  # the last key sorts first
    fresh = _fresh(encoding, bred[order], history)
    return bred[order][fresh][0]


def _far_reference(
    front: np.ndarray, losses: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return a point beyond the worst of the front or, half the time, of all trials.

    The farther away the reference is, the more the ends of the front count. `losses`
    are those of all trials, `[N, M]`.
    """
    extent = front if rng.random() < 0.5 else losses
    span = np.maximum(np.ptp(extent, axis=0), 1e-3)
    return extent.max(0) + 0.1 * span


def _near_reference(
    low: np.ndarray, worst: np.ndarray, trust: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a point between best and worst: only the middle of the front counts."""
    return low + (worst - low + 1e-3) * rng.uniform(0.2, 0.6 + 0.5 * trust)


def _breed(
    encoding: Encoding,
    parents: np.ndarray,
    score: Callable,
    rng: np.random.Generator,
    generations: int,
    children: int,
    immigrants: int,
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Breed several generations of children, each from the best points so far.

    Args:
        score: maps points `[N, D]` to their excess, gain and reach, each `[N]`.
        immigrants: number of random children in the first generation.

    Returns:
        All children `[N, D]` and their scores.
    """
    bred, scores, size, best_scores = [], [], len(parents), score(parents)
    for generation in range(generations):
        pairs = rng.integers(len(parents), size=(2, children))
        eta = (5, 5) if generation == 0 else (15, 20)  # wide first, then near
        offspring = crossover(
            parents[pairs[0]], parents[pairs[1]], encoding.categories, rng, eta[0]
        )
        offspring = mutate(
            offspring, encoding.categories, rng, 1.5 / offspring.shape[1], eta=eta[1]
        )
        if generation == 0:
            offspring[:immigrants] = rng.random((immigrants, offspring.shape[1]))
        offspring = encoding.snap(offspring)
        bred.append(offspring)
        scores.append(score(offspring))
        candidates = np.vstack([parents, offspring])
        pairs_of_scores = zip(best_scores, scores[-1], strict=True)
        excess, gain, reach = merged = [np.append(a, b) for a, b in pairs_of_scores]
        best = np.lexsort((-reach, -gain, excess))[:size]
        parents, best_scores = candidates[best], [part[best] for part in merged]
    columns = (np.concatenate(part) for part in zip(*scores, strict=True))
    return np.vstack(bred), tuple(columns)


def _fresh(encoding: Encoding, points: np.ndarray, history: History) -> np.ndarray:
    """Mark the points that duplicate no trial, bool `[N]`; all if there are none."""
    trials = encoding.features(np.vstack([history.points, history.pending]))
    candidates = encoding.features(points)
    squares = (
        (candidates**2).sum(1)[:, None] + (trials**2).sum(1) - 2 * candidates @ trials.T
    )
    new = squares.min(1) >= NEAREST**2 * points.shape[1]
    return new if new.any() else ~new


def _stalled(losses: np.ndarray, parents: np.ndarray) -> bool:
    """Return whether the last trials added almost nothing to the hypervolume."""
    if len(losses) <= LAST:
        return False
    low, worst = losses.min(0), losses[parents].max(0)
    reference = worst + 0.1 * (worst - low)
    rng = np.random.default_rng(0)
    acquisition = Acquisition(losses[:1], reference, low, rng)
    reach = np.maximum(acquisition.reach(losses), 0) ** losses.shape[1]
    now, before = reach.max(0).mean(), reach[:-LAST].max(0).mean()
    return now - before < STALLED * now


def _standard(column: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the column with mean 0 and spread 1, and its original 0 on that scale."""
    mean, spread = column.mean(), max(column.std(), 1e-12)
    return (column - mean) / spread, -mean / spread
