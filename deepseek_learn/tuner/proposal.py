"""Propose the next trial: the child with the largest predicted improvement.

Children are bred and scored on the surrogates (`surrogate.py`) by their predicted
improvement in hypervolume (`acquisition.py`), which requires no training.
"""

from collections.abc import Callable, Sequence

import numpy as np

from .acquisition import Acquisition, far_reference, near_reference, stalled
from .encoding import Encoding
from .genetic import crossover, mutate, select
from .history import History
from .surrogate import Models

NEAREST = 0.02  # a child within this distance per hyperparameter is a duplicate
TRUSTED = 4  # trials per hyperparameter needed to search the whole space
CLIMBERS, ROUNDS, MOVES = 4, 3, (0.1, 0.03)  # how many children climb, and how far
BOLD, EARLY, LATE = 0.5, 25, 40  # half of 25 trials are bold, and none after 40


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
    explore = stalled(models.losses, parents) and rng.random() < 0.5
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
        reference = far_reference(front, models.losses, rng)
    else:
        reference = near_reference(low, models.losses[parents].max(0), trust, rng)
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
