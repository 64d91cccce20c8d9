"""Pareto dominance and hypervolume, against their definitions and Optuna's own."""

import warnings

import numpy as np
import pytest

from deepseek_learn.tuner import (
    crowding_distance,
    dominates,
    domination_count,
    hypervolume,
    knee,
    nondominated_rank,
)
from deepseek_learn.tuner.pareto import scaled


def cloud(n, m, seed=0):
    return np.random.default_rng(seed).random((n, m))


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_dominance_is_nowhere_worse_and_somewhere_better(m):
    x = cloud(25, m).round(1)  # ties too
    result = dominates(x)
    for i, a in enumerate(x):
        for j, b in enumerate(x):
            assert result[i, j] == (all(a <= b) and any(a < b))
    assert (domination_count(x) == result.sum(0)).all()


def test_equal_points_do_not_dominate_each_other():
    assert not dominates([[1, 2], [1, 2]]).any()


@pytest.mark.parametrize("m", [1, 2, 3])
def test_a_rank_is_the_front_that_is_left_without_those_before(m):
    x = cloud(40, m, seed=1).round(1)
    rank, left = nondominated_rank(x), np.arange(40)
    for front in range(rank.max() + 1):
        on = domination_count(x[left]) == 0
        assert set(left[on]) == set(np.flatnonzero(rank == front))
        left = left[~on]
    assert not len(left)


def test_crowding_is_the_neighbors_distance_and_infinite_at_the_ends():
    x = np.array([[0.0, 4.0], [1.0, 3.0], [3.0, 1.0], [4.0, 0.0]])
    distance = crowding_distance(x[[2, 0, 3, 1]])  # the order does not matter
    assert distance[[1, 2]].tolist() == [np.inf, np.inf]
    assert distance[[3, 0]] == pytest.approx([3 / 4 + 3 / 4] * 2)


def test_an_objective_that_is_constant_adds_no_crowding():
    x = cloud(6, 1)
    padded = np.hstack([x, np.ones((6, 1))])
    assert (crowding_distance(padded) == crowding_distance(x)).all()


def test_hypervolume_of_two_boxes_is_their_union():
    # 2 x 1 and 1 x 3, minus their overlap 1 x 1
    assert hypervolume([[1, 2], [2, 0]], [3, 3]) == pytest.approx(2 + 3 - 1)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_hypervolume_is_optunas(m):
    from optuna._hypervolume import compute_hypervolume

    for seed in range(5):
        x, reference = cloud(20, m, seed), np.full(m, 0.9)
        inside = x[(x < 0.9).all(1)]
        theirs = compute_hypervolume(inside, reference)
        assert hypervolume(x, reference) == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("m", [2, 3, 4])
def test_hypervolume_is_the_share_of_random_points_that_are_dominated(m):
    x, probes = cloud(12, m, 3), cloud(40_000, m, 4)
    hit = (x[:, None] <= probes).all(2).any(0).mean()
    error = np.sqrt(hit * (1 - hit) / len(probes))
    assert abs(hypervolume(x, np.ones(m)) - hit) < 4 * error


def test_each_objective_has_its_own_reference():
    # 3 x 1 and 2 x 3, minus their overlap 2 x 1
    assert hypervolume([[1, 2], [2, 0]], [4, 3]) == pytest.approx(3 + 6 - 2)


def test_infinite_values_can_be_compared():
    x = [[np.inf, 1.0], [0.0, 0.0], [-np.inf, 2.0]]
    assert nondominated_rank(x).tolist() == [1, 0, 0]
    assert hypervolume([[0.0, 0.0], [np.inf, -1.0]], [2, 2]) == pytest.approx(4)


def test_no_points_have_no_crowding_and_no_volume():
    assert crowding_distance(np.empty((0, 2))).shape == (0,)
    assert hypervolume(np.empty((0, 2)), [1, 1]) == 0


def test_scaling_uses_all_of_the_range_and_keeps_each_digit():
    x = np.array([[3e-9, 5e8], [-7e-9, np.inf], [1e-9, 0.0]])
    result, exponents = scaled(x)
    largest = np.abs(np.where(np.isfinite(result), result, 0)).max(0)
    assert ((largest >= 0.5) & (largest < 1)).all()
    assert (np.ldexp(result, exponents) == x).all()


def test_points_beyond_the_reference_add_nothing():
    x = cloud(10, 3)
    outside = np.vstack([x, [[-9, -9, 1.0]], [[0, 0, 2.0]]])
    assert hypervolume(outside, [1, 1, 1]) == hypervolume(x, [1, 1, 1])
    assert hypervolume([[2.0, 2.0]], [1, 1]) == 0


def test_the_knee_is_nearest_to_the_ideal_in_the_fronts_own_scale():
    # the second objective is a thousand times the first; index 2 is dominated
    x = [[0.0, 1000.0], [0.2, 300.0], [0.3, 400.0], [1.0, 0.0]]
    assert knee(x) == 1
    assert knee([[5.0, 1.0]]) == 0
    # far from zero, and one objective that is constant: neither changes anything
    shares = np.array([[0.0, 1.0], [0.5, 0.1], [1.0, 0.0]])
    far = np.array([0, 100])
    assert knee(shares) == knee(shares + far) == knee(shares - far[::-1]) == 1
    assert knee(np.hstack([shares, np.full((3, 1), 7.0)])) == 1


def test_the_knees_distance_is_euclidean():
    # the sum of the scaled values would choose index 1, that of their cubes index 2
    x = [[0, 1], [0.01, 0.78], [0.45, 0.45], [0.6, 0.2], [1, 0]]
    assert knee(x) == 3


@pytest.mark.parametrize("scale", [2.0**1023, 2.0**-1000])
def test_values_near_the_ends_of_float64_are_no_trouble(scale):
    x = 4 * cloud(9, 3, 5) - 2  # up to the largest float
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        x[:3] = [[-1.99, 1.99, 1.9], [1.99, -1.99, 1.9], [1.9, 1.9, -1.99]]
        far = x * scale
        assert crowding_distance(far) == pytest.approx(crowding_distance(x), rel=1e-9)
        assert knee(far) == knee(x)
        sizes = np.array([scale, 2**-5, 2**-5])  # so that the volume fits a float64
        volume = hypervolume(x * sizes, [1, 2, 2] * sizes)
        assert volume / sizes.prod() == pytest.approx(hypervolume(x, [1, 2, 2]))
        assert hypervolume([[-1e308] * 2], [1e308] * 2) == np.inf  # beyond float64


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: nondominated_rank([1.0, 2.0]), "points"),
        (lambda: dominates([[1.0, np.nan]]), "NaN"),
        (lambda: hypervolume([[1.0, 2.0]], [3.0]), "reference"),
        (lambda: hypervolume([[1.0, 2.0]], [3.0, np.inf]), "reference"),
        (lambda: knee(np.empty((0, 2))), "points"),
        (lambda: knee([[0.0, np.inf], [1.0, 1.0]]), "infinite"),
        (lambda: crowding_distance(3.0), "points"),
        (lambda: crowding_distance([[np.inf, 1.0]]), "infinite"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused(call, names):
    with pytest.raises(ValueError, match=names):
        call()
