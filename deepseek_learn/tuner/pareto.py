"""Pareto dominance, and measures of how good a front is.

All objectives are minimized. `points` is a float array of shape `[N, M]` with one row
per trial and one column per objective. A point dominates another if it is no worse in
any objective and better in at least one:

    x < y  <=>  all_m x_m <= y_m  and  any_m x_m < y_m

The points that no other point dominates form the Pareto front.
Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

import numpy as np
from numpy.typing import ArrayLike


def dominates(points: ArrayLike) -> np.ndarray:
    """Determine which points dominate which other points.

    Returns:
        A bool array of shape `[N, N]`, which is True at (i, j) if point i dominates
        point j.

    Raises:
        ValueError: if `points` does not have shape `[N, M]`, or if it contains NaN.

    >>> from deepseek_learn import tuner
    >>> tuner.dominates([[0, 0], [1, 1]])
    array([[False,  True],
           [False, False]])
    """
    x = _points(points)
    no_worse = np.ones((len(x), len(x)), dtype=bool)
    better = np.zeros_like(no_worse)
    for column in x.T:  # M passes over [N, N] are faster than one over [N, N, M]
        no_worse &= column[:, None] <= column[None]
        better |= column[:, None] < column[None]
    return no_worse & better


def domination_count(points: ArrayLike) -> np.ndarray:
    """Count how many points dominate each point.

    Returns:
        An int64 array of shape `[N]`, which is 0 for the points on the front.

    Fonseca & Fleming 1993, "Genetic algorithms for multiobjective optimization", ICGA.

    >>> from deepseek_learn import tuner
    >>> tuner.domination_count([[0, 0], [1, 1], [2, 0]])
    array([0, 1, 1])
    """
    return dominates(points).sum(0)


def nondominated_rank(points: ArrayLike) -> np.ndarray:
    """Return the index of each point's front, an int64 array of shape `[N]`.

    Points on the Pareto front have index 0. Points on the front that remains after
    removing it have index 1, and so on.

    Deb et al. 2002, "A fast and elitist multiobjective genetic algorithm: NSGA-II",
    IEEE Transactions on Evolutionary Computation 6(2), section III-A.

    >>> from deepseek_learn import tuner
    >>> tuner.nondominated_rank([[0, 1], [1, 0], [1, 1]])
    array([0, 0, 1])
    """
    dominance = dominates(points)  # [N, N]
    rank = np.full(len(dominance), -1)
    dominated_by = dominance.sum(0)  # [N], how many remaining points dominate each
    front = 0
    while (rank < 0).any():
        members = (dominated_by == 0) & (rank < 0)
        rank[members] = front
        # removing a front frees the points that only its members dominate
        dominated_by = dominated_by - dominance[members].sum(0)
        front += 1
    return rank


def crowding_distance(points: ArrayLike) -> np.ndarray:
    """Return the crowding distance of each point in a front, of shape `[N]`.

    d_i = sum_m (next_m(i) - previous_m(i)) / (max_m - min_m), where next and previous
    are the neighbors of point i along each objective (NSGA-II, section III-B). The
    distance of the end points is inf. A constant objective contributes nothing.

    Raises:
        ValueError: if a value is not finite.

    >>> from deepseek_learn import tuner
    >>> tuner.crowding_distance([[0, 1], [0.5, 0.5], [1, 0]])
    array([inf,  2., inf])
    """
    x, _ = scaled(_points(points, finite=True))
    distance = np.zeros(len(x))
    for column in x.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]] if len(x) else 0.0
        if span == 0:
            continue  # all points are ends here, and none may become infinite
        distance[order[[0, -1]]] = np.inf  # never drop the ends of the front
        distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
    return distance


def hypervolume(points: ArrayLike, reference: ArrayLike) -> float:
    """Return the volume of the region dominated by the points, bounded by `reference`.

    HV = volume of the union of the boxes [x_i, reference]. A larger volume is better.
    Points that are not better than the reference in every objective contribute nothing.
    The result is exact. With two objectives, it is computed by a sweep along one of
    them. With more, it is computed by the WFG recursion (While et al. 2012, "A fast way
    of calculating exact hypervolumes", IEEE Transactions on Evolutionary Computation
    16(1)), in which each point contributes the part of its box that later points do not
    cover.

    Raises:
        ValueError: if `reference` does not contain one finite number per objective.

    >>> from deepseek_learn import tuner
    >>> float(tuner.hypervolume([[0, 1], [1, 0]], reference=[2, 2]))
    3.0
    """
    x, r = _points(points), np.asarray(reference, dtype=float)
    if r.shape != x.shape[1:] or not np.isfinite(r).all():
        raise ValueError(
            f"reference must be {x.shape[1]} finite numbers, one per objective; got "
            f"{reference!r}."
        )
    x = x[(x < r).all(1)]  # any other point has no volume inside the bounds
    if not len(x):
        return 0.0
    corners, exponents = scaled(np.vstack([x, r]))
    with np.errstate(over="ignore"):  # a volume beyond float64 is inf
        volume = _volume(_front(corners[:-1]), corners[-1])
        return float(np.ldexp(volume, int(exponents.sum())))


def knee(points: ArrayLike) -> int:
    """Return the index of the compromise: the point on the front nearest to the ideal.

    The objectives are scaled so that each ranges from 0 to 1 on the front. The ideal
    point combines the best values of all objectives, and the distance to it is
    Euclidean (compromise programming: Zeleny 1982, "Multiple criteria decision making",
    McGraw-Hill). Objectives that are constant on the front are ignored.

    Raises:
        ValueError: if there are no points, or if a value is not finite.

    >>> from deepseek_learn import tuner
    >>> tuner.knee([[0, 1], [0.2, 0.2], [1, 0]])
    1
    """
    x, _ = scaled(_points(points, finite=True))
    if not len(x):
        raise ValueError("points must contain at least one point; got none.")
    front = np.flatnonzero(domination_count(x) == 0)
    low, span = x[front].min(0), np.ptp(x[front], axis=0)
    normalized = (x[front] - low) / np.where(span > 0, span, 1)
    return int(front[np.argmin((normalized**2).sum(1))])


def scaled(columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scale each column to the range -1..1 by a power of two.

    After scaling, sums and differences of values near the float64 maximum stay finite.
    No precision is lost, because a power of two changes only the exponent. Values that
    are not finite are left unchanged.

    Returns:
        The scaled columns, and the exponents, of shape `[M]`.
    """
    finite = np.where(np.isfinite(columns), np.abs(columns), 0)
    exponents = np.frexp(finite.max(0, initial=0))[1]
    return np.ldexp(columns, -exponents), exponents


def _points(points: ArrayLike, finite: bool = False) -> np.ndarray:
    x = np.asarray(points, dtype=float)
    if x.ndim != 2:
        raise ValueError(
            f"points must have shape [N, M], with one row per point and one column per "
            f"objective; got an array of shape {list(x.shape)}."
        )
    if np.isnan(x).any():
        raise ValueError("points must not contain NaN.")
    if finite and not np.isfinite(x).all():
        raise ValueError("points must be finite; got an infinite value.")
    return x


def _front(x: np.ndarray) -> np.ndarray:
    """Return the distinct nondominated points, sorted by the first objective."""
    x = np.unique(x, axis=0)
    return x[domination_count(x) == 0] if len(x) > 1 else x


def _volume(front: np.ndarray, r: np.ndarray) -> float:
    """Compute the hypervolume of a nonempty, sorted front of distinct points.

    All points must be better than `r` in every objective.
    """
    if len(r) == 1:
        return r[0] - front[0, 0]
    if len(r) == 2:  # sorted by the first objective, so the second decreases
        # one rectangle per point, which ends where the next point begins
        right = np.append(front[1:, 0], r[0])
        return float(((right - front[:, 0]) * (r[1] - front[:, 1])).sum())
    return sum(_exclusive(x, front[i + 1 :], r) for i, x in enumerate(front))


def _exclusive(x: np.ndarray, others: np.ndarray, r: np.ndarray) -> float:
    """Compute the volume of the box [x, r] not covered by the boxes of `others`."""
    box = float(np.prod(r - x))
    if not len(others):
        return box
    # Clip the other boxes to this one. Most of the clipped corners dominate each other,
    # so that the recursion soon runs out of points.
    return box - _volume(_front(np.maximum(others, x)), r)
