"""Choose the next trial by its predicted improvement in hypervolume.

Children are bred and scored with the surrogate, and the one with the largest predicted
improvement becomes the next trial. The improvement is estimated along random
directions. For a direction w drawn from the positive unit sphere, a point x reaches
t(x) = min_m (r_m - x_m) / w_m from the reference r. Up to a constant, the hypervolume
of a set is the mean over w of (max over the set of t)^M (Deng & Zhang 2019,
"Approximating hypervolume and hypervolume contributions using polar coordinate", IEEE
Transactions on Evolutionary Computation 23(5)). This is cheap enough that hundreds of
children can be evaluated per trial.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .encoding import Encoding
from .genetic import crossover, mutate, select
from .pareto import nondominated_rank
from .surrogate import GaussianProcess, fit_lengths, soften

DIRECTIONS = 200
NEAREST = 0.02  # a child within this distance per hyperparameter is a duplicate
LAST, STALLED = 5, 0.02  # stalled if 5 trials add less than 2% of the hypervolume
ALWAYS, REFIT = 40, 1.25  # refit at each trial up to 40, then at a quarter more trials
MOST = 300  # the maximum number of trials used to fit a model
TRUSTED = 4  # trials per hyperparameter needed to search the whole space
CLIMBERS, ROUNDS, MOVES = 4, 3, (0.1, 0.03)  # how many children climb, and how far
BOLD, EARLY, LATE = 0.5, 25, 40  # half of 25 trials are bold, and none after 40


@dataclass(frozen=True)
class History:
    """The trials so far, as arrays.

    Attributes:
        points: the points of the trials in the unit cube, of shape `[N, D]`.
        losses: the objective values to be minimized, of shape `[N, M]`. Failed trials
            have NaN in every column.
        violations: the amounts by which the limits are exceeded, of shape `[N, K]`. A
            value of at most 0 means that the limit is met; K may be 0.
        pending: the points of trials that are running on other workers, of shape
            `[P, D]`.
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
        """Return a history with the selected trials and all of the pending ones."""
        parts = (self.points[trials], self.losses[trials], self.violations[trials])
        return History(*parts, self.pending)

    def filled(self) -> "History":
        """Return a copy that gives failed trials the worst losses of the other trials.

        Failed trials are informative because training is likely to diverge again in the
        same region.
        """
        failed = np.isnan(self.losses).any(1)
        others = self.losses[~failed]
        losses = self.losses.copy()
        losses[failed] = others.max(0) if len(others) else 0.0
        return History(self.points, losses, self.violations, self.pending)

    def ranks(self) -> np.ndarray:
        """Return the rank of each trial, an array of shape `[N]`; lower is better.

        Feasible trials are ranked by front. Infeasible trials come after them and are
        ranked by how much they exceed the limits. Because units differ, the excess over
        each limit is divided by the largest absolute value in its column.
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
    """One Gaussian process per objective and per limit.

    Attributes:
        losses: the softened and standardized losses of the history, of shape `[N, M]`.
    """

    def __init__(self, encoding: Encoding, history: History, logs: list[np.ndarray]):
        features = encoding.features(history.points)
        self._encoding = encoding
        columns = [soften(column) for column in history.losses.T]
        scaled = [_standard(column) for column in columns]
        self.losses = np.stack([column for column, _ in scaled], axis=1)
        limits = [_standard(column) for column in history.violations.T]
        # the zero of each limit on the scale of its model
        self._zeros = np.array([zero for _, zero in limits])
        targets = [*self.losses.T, *(column for column, _ in limits)]
        self._processes = [
            GaussianProcess(features, column, encoding.owner, log)
            for column, log in zip(targets, logs, strict=True)
        ]

    def losses_at(self, points: np.ndarray, spreads: float = 0.0) -> np.ndarray:
        """Predict the losses at the given points, minus `spreads` standard deviations.

        Returns:
            A float array of shape `[N, M]`.
        """
        features = self._encoding.features(points)
        count = self.losses.shape[1]
        processes = self._processes[:count]
        return np.stack([p.optimistic(features, spreads) for p in processes], axis=1)

    def excess_at(self, points: np.ndarray) -> np.ndarray:
        """Predict how much each point exceeds the limits in total.

        Returns:
            A float array of shape `[N]`, which is 0 where all limits are met.
        """
        limits = self._processes[self.losses.shape[1] :]
        if not limits:
            return np.zeros(len(points))
        features = self._encoding.features(points)
        values = np.stack([p.mean(features) for p in limits], axis=1)
        return np.maximum(values - self._zeros, 0).sum(1)


def lengths(encoding: Encoding, history: History) -> list[np.ndarray]:
    """Fit the length scales for each objective and each limit (see `fit_lengths`)."""
    features = encoding.features(history.points)
    columns = [soften(c) for c in history.losses.T] + [*history.violations.T]
    scaled = [_standard(column)[0] for column in columns]
    return [fit_lengths(features, column, encoding.owner) for column in scaled]


def last_refit(trials: int) -> int:
    """Return the number of trials that were available at the last refit.

    The length scales are fitted only to that many of the earliest trials.
    """
    count = ALWAYS
    while int(np.ceil(count * REFIT)) <= trials:
        count = int(np.ceil(count * REFIT))
    return min(count, trials)


class Acquisition:
    """The acquisition function, which is the improvement in hypervolume over a front.

    Args:
        front: the losses on the current front and the predicted losses of pending
            trials, of shape `[N, M]`.
        reference: the reference point of the hypervolume, of shape `[M]`.
        low: the best value of each objective, of shape `[M]`. It is used to scale the
            directions.
        rng: the random generator used to draw the directions.
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
        """Return how far each point reaches in each direction.

        Returns:
            The values of t(x) (see the module), of shape `[N, directions]`.
        """
        gaps = (self._reference - losses).T[:, :, None] / self._weights.T[:, None, :]
        return gaps.min(0)  # [M, N, directions]: the short axis first is much faster

    def gain(self, losses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the improvement of each point and its largest reach in any direction.

        A point with a negative reach does not improve the hypervolume.
        """
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
    """Propose a point for the next trial, of shape `[D]`.

    While the front is still improving, points are scored by the surrogate's mean.
    The reference point is sampled for each trial, which moves the focus of the search
    between the middle and the ends of the front. With few trials, the surrogate is
    unreliable far from the data, so the search stays in the middle and all children
    descend from the parents. Half of the early trials are bold instead: they trust the
    surrogate everywhere, use its lower confidence bound, and improve their best
    children by a coordinate search. Once the front has stalled, half of the trials, on
    average, explore regions where the surrogate is uncertain.
    """
    # 1. Fit the models to all trials. With more trials, our trust in them grows to 1.
    trust = min(1.0, len(history) / (TRUSTED * history.points.shape[1]))
    models = Models(encoding, history, logs)
    ranks = history.ranks()  # [N], 0 is the best front
    parents = select(models.losses, population, ranks)  # indices of trials
    # 2. Exploit the mean of the models, or explore where they are uncertain. Using only
    # the mean could propose the same region forever if the mean is wrong there.
    explore = _stalled(models.losses, parents) and rng.random() < 0.5
    early = np.clip((LATE - len(history)) / (LATE - EARLY), 0, 1)
    bold = not explore and rng.random() < BOLD * early
    spreads = 2.0 if explore else float(bold)
    generations = 1 if explore else generations
    trust = 1.0 if bold else trust
    # 3. Take the front to improve on, or the closest trial if none meets the limits.
    front = models.losses[ranks == ranks.min()]  # [F, M]
    if len(history.pending):
        # assume that pending trials end as predicted, so that no two workers try the
        # same point
        front = np.vstack([front, models.losses_at(history.pending)])
    # 4. Choose the reference point of the hypervolume, of shape [M].
    low = front.min(0)
    if explore or bold:
        reference = _far_reference(front, models.losses, rng)
    else:
        reference = _near_reference(low, models.losses[parents].max(0), trust, rng)
    acquisition = Acquisition(front, reference, low, rng)

    def score(points: np.ndarray) -> tuple[np.ndarray, ...]:
        gain, reach = acquisition.gain(models.losses_at(points, spreads))
        return models.excess_at(points), gain, reach

    # 5. Breed on the models, which requires no training. Add random immigrants only if
    # the mean is trusted; otherwise, a child far from all trials may wrongly look best.
    immigrants = children // 4 if trust == 1 and not explore else 0
    mates = history.points[parents]
    bred, scores = _breed(
        encoding, mates, score, rng, generations, children, immigrants
    )  # [generations x children, D]
    if bold:
        bred, scores = _climb(encoding, bred, score, scores, rng)
    # 6. Take the best new child.
    order = _best_first(scores)
    fresh = _fresh(encoding, bred[order], history)
    return bred[order][fresh][0]


def _far_reference(
    front: np.ndarray, losses: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Return a reference point beyond the worst losses.

    The worst losses are taken from the front half of the time, and from all trials
    otherwise. A more distant reference point gives more weight to the ends of the
    front. `losses` contains the losses of all trials and has shape `[N, M]`.
    """
    extent = front if rng.random() < 0.5 else losses
    span = np.maximum(np.ptp(extent, axis=0), 1e-3)
    return extent.max(0) + 0.1 * span


def _near_reference(
    low: np.ndarray, worst: np.ndarray, trust: float, rng: np.random.Generator
) -> np.ndarray:
    """Return a reference point between the best and the worst losses.

    A reference point this close favors the middle of the front.
    """
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
    """Breed several generations of children, starting each from the best points so far.

    Args:
        score: a function that takes points of shape `[N, D]` and returns their excess,
            improvement and reach, each of shape `[N]`.
        immigrants: the number of random children in the first generation.

    Returns:
        All children, of shape `[N, D]`, and their scores.
    """
    bred, scores, size, best_scores = [], [], len(parents), score(parents)
    for generation in range(generations):
        pairs = rng.integers(len(parents), size=(2, children))
        eta = (5, 5) if generation == 0 else (15, 20)  # search widely, then locally
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
        merged = [np.append(a, b) for a, b in pairs_of_scores]
        best = _best_first(merged)[:size]
        parents, best_scores = candidates[best], [part[best] for part in merged]
    columns = (np.concatenate(part) for part in zip(*scores, strict=True))
    return np.vstack(bred), tuple(columns)


def _climb(
    encoding: Encoding,
    points: np.ndarray,
    score: Callable,
    scores: tuple[np.ndarray, ...],
    rng: np.random.Generator,
) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
    """Improve the best points by a coordinate search, one hyperparameter at a time.

    Returns:
        The points and where the best ones have arrived, `[N + CLIMBERS, D]`, with their
        scores.
    """
    first = _best_first(scores)[:CLIMBERS]
    best, best_scores = points[first], [part[first] for part in scores]
    axes = [rng.permutation(points.shape[1]) for _ in range(ROUNDS)]
    for axis in np.concatenate(axes):
        kinds = encoding.categories[axis]
        if kinds:
            values = np.tile((np.arange(kinds) + 0.5) / kinds, (len(best), 1))
        else:
            moves = np.array([*MOVES, *(-move for move in MOVES)])
            values = np.clip(best[:, axis, None] + moves, 0, 1)  # [climbers, moves]
        moved = np.repeat(best, values.shape[1], axis=0)
        moved[:, axis] = values.ravel()
        moved = encoding.snap(moved)
        # of each climber, the place where it stands and those that it can move to
        places = np.concatenate([best[:, None], moved.reshape(*values.shape, -1)], 1)
        columns = [
            np.concatenate([old[:, None], new.reshape(values.shape)], 1)
            for old, new in zip(best_scores, score(moved), strict=True)
        ]
        chosen = _best_first(columns)[:, 0]
        rows = np.arange(len(best))
        best, best_scores = places[rows, chosen], [c[rows, chosen] for c in columns]
    both = zip(scores, best_scores, strict=True)
    return np.vstack([points, best]), tuple(np.append(a, b) for a, b in both)


def _best_first(scores: Sequence[np.ndarray]) -> np.ndarray:
    """Return the order of the points along the last axis, the best one first.

    They are sorted by excess over the limits, then by gain, then by reach, which still
    ranks the points if none of them improves the hypervolume.
    """
    excess, gain, reach = scores
    return np.lexsort((-reach, -gain, excess))  # the last key sorts first


def _fresh(encoding: Encoding, points: np.ndarray, history: History) -> np.ndarray:
    """Return a boolean mask of the points that do not duplicate a trial.

    The mask has shape `[N]`. If all points are duplicates, it is True everywhere.
    """
    trials = encoding.features(np.vstack([history.points, history.pending]))
    candidates = encoding.features(points)
    squares = (
        (candidates**2).sum(1)[:, None] + (trials**2).sum(1) - 2 * candidates @ trials.T
    )
    new = squares.min(1) >= NEAREST**2 * points.shape[1]
    return new if new.any() else ~new


def _stalled(losses: np.ndarray, parents: np.ndarray) -> bool:
    """Return whether the most recent trials have barely increased the hypervolume."""
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
    """Standardize a column to mean 0 and standard deviation 1.

    Also return the value to which the original 0 is mapped.
    """
    mean, spread = column.mean(), max(column.std(), 1e-12)
    return (column - mean) / spread, -mean / spread
