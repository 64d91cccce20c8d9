"""Genetic operators and the unit cube they work on."""

import numpy as np
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from deepseek_learn.tuner.encoding import Axis, Encoding
from deepseek_learn.tuner.genetic import crossover, mutate, select
from deepseek_learn.tuner.pareto import nondominated_rank

SPACE = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "dropout": FloatDistribution(0, 0.5, step=0.1),
    "momentum": FloatDistribution(-1, 1),
    "width": IntDistribution(4, 64, log=True),
    "depth": IntDistribution(1, 9, step=2),
    "activation": CategoricalDistribution(("relu", "gelu", None)),
}
CATEGORIES = np.array([0, 0, 0, 0, 0, 3])


def test_every_value_comes_back_from_the_cube():
    encoding, rng = Encoding(SPACE), np.random.default_rng(0)
    for point in rng.random((300, 6)):
        params = encoding.decode(point)
        again = encoding.decode(encoding.encode(params))
        numbers = [name for name in SPACE if name != "activation"]
        assert again["activation"] == params["activation"]
        for name in numbers:
            assert again[name] == pytest.approx(params[name], rel=1e-9)
            low, high = SPACE[name].low, SPACE[name].high
            assert low <= again[name] <= high


def test_what_is_decoded_is_a_value_of_its_distribution():
    encoding, rng = Encoding(SPACE), np.random.default_rng(1)
    corners = np.vstack([np.zeros(6), np.ones(6), rng.random((200, 6))])
    for point in corners:
        for name, value in encoding.decode(point).items():
            d = SPACE[name]
            assert d._contains(d.to_internal_repr(value))


def test_the_whole_numbers_own_cells_of_equal_width_the_ends_too():
    axis = Axis(IntDistribution(1, 4))
    units = (np.arange(4000) + 0.5) / 4000
    counts = np.unique([axis.decode(u) for u in units], return_counts=True)[1]
    assert counts.tolist() == [1000] * 4


def test_a_logarithmic_number_lies_by_its_logarithm():
    axis = Axis(FloatDistribution(1e-4, 1, log=True))
    assert [axis.encode(v) for v in (1e-4, 1e-2, 1)] == pytest.approx([0, 0.5, 1])


def test_snapping_is_decoding_and_encoding():
    encoding, points = Encoding(SPACE), np.random.default_rng(2).random((200, 6))
    there_and_back = [encoding.encode(encoding.decode(point)) for point in points]
    assert encoding.snap(points) == pytest.approx(np.array(there_and_back), abs=1e-9)


def test_different_categories_are_at_distance_one():
    encoding = Encoding({"activation": SPACE["activation"]})
    points = np.array([[encoding.encode({"activation": v})[0]] for v in ("relu", None)])
    one, other = encoding.features(points)
    assert np.linalg.norm(one - other) == pytest.approx(1)
    assert encoding.owner.tolist() == [0, 0, 0]


def test_a_number_with_one_value_lies_in_the_middle():
    axis = Axis(FloatDistribution(2, 2))
    assert axis.encode(2) == 0.5
    assert axis.decode(0.5) == 2
    assert axis.snap(np.array([0.1, 0.9])).tolist() == [0.5, 0.5]
    encoding = Encoding(SPACE)
    missing = {"lr": 1e-3}  # like trials without this hyperparameter
    assert encoding.encode(missing).tolist() == [0.5] * 6
    assert encoding.encode({"lr": 1e-1}).tolist() == [1] + [0.5] * 5


def test_what_lies_outside_is_drawn_to_the_edge():
    axis = Axis(FloatDistribution(0, 1))
    assert [axis.encode(v) for v in (-1, 2)] == [0, 1]
    assert axis.snap(np.array([-0.5, 1.5])).tolist() == [0, 1]
    choice = Axis(SPACE["activation"])
    assert choice.snap(np.array([0.0, 1.0])) == pytest.approx([1 / 6, 5 / 6])
    assert choice.decode(1.0) is None


def test_each_column_of_features_knows_its_hyperparameter():
    encoding = Encoding(SPACE)
    assert encoding.owner.tolist() == [0, 1, 2, 3, 4, 5, 5, 5]
    assert encoding.features(np.full((1, 6), 0.5)).shape == (1, 8)


def test_an_unknown_distribution_is_refused():
    with pytest.raises(TypeError, match="distribution"):
        Axis("uniform")


def test_selection_takes_front_by_front_and_the_last_by_room():
    values = np.random.default_rng(3).random((40, 2))
    rank = nondominated_rank(values)
    chosen = select(values, 15)
    assert len(set(chosen)) == 15
    assert (np.diff(rank[chosen]) >= 0).all()  # best first
    left_out = np.setdiff1d(np.arange(40), chosen)
    assert rank[chosen].max() <= rank[left_out].min()
    front = np.array([[0.0, 3.0], [0.1, 2.9], [1.0, 1.0], [3.0, 0.0]])
    assert set(select(front, 3)) == {0, 2, 3}  # index 1 is crowded


def test_crossing_keeps_the_pairs_mean_and_spreads_around_it():
    rng = np.random.default_rng(4)
    x, y = np.full((20_000, 1), 0.45), np.full((20_000, 1), 0.55)
    child = crossover(x, y, np.zeros(1, int), rng, share=1.0)
    # a blend with b: c - mean = b (x - y) / 2, so that it lies on the first's side
    assert np.abs(child - 0.5).max() < 0.5
    spread = (0.5 - child) / 0.05
    # half of the probability contracts, half expands: the definition of the crossover
    assert (spread < 1).mean() == pytest.approx(0.5, abs=0.02)
    # E b = (eta + 1) / (eta + 2) / 2 + (eta + 1) / eta / 2
    assert spread.mean() == pytest.approx(16 / 17 / 2 + 16 / 15 / 2, abs=0.01)


def test_crossing_and_mutation_have_debs_usual_width():
    rng, x = np.random.default_rng(9), np.full((40_000, 1), 0.5)
    number = np.zeros(1, int)
    child = crossover(x, x + 0.1, number, rng, share=1.0)
    spread = (0.55 - child) / 0.05
    # E |b - 1| = 1 / (2 (eta + 2)) + 1 / (2 eta), with eta = 15
    assert np.abs(spread - 1).mean() == pytest.approx(1 / 34 + 1 / 30, rel=0.05)
    moved = mutate(x, number, rng, 1.0) - 0.5
    # E |d| = 1 / (eta + 2), as often up as down, with eta = 20
    assert np.abs(moved).mean() == pytest.approx(1 / 22, rel=0.05)
    assert (moved > 0).mean() == pytest.approx(0.5, abs=0.02)


def test_half_of_the_columns_are_crossed_and_the_others_are_the_firsts():
    rng = np.random.default_rng(10)
    x, y = rng.uniform(0.2, 0.8, (2, 4000, 5))
    child = crossover(x, y, np.array([0, 0, 0, 3, 3]), rng)
    assert (child != x).mean() == pytest.approx(0.5, abs=0.02)
    assert (child != x)[:, 3:].mean() == pytest.approx(0.5, abs=0.03)


def test_children_of_parents_at_the_edge_stay_in_the_cube():
    rng, number = np.random.default_rng(11), np.zeros(1, int)
    low, high = np.zeros((500, 1)), np.ones((500, 1))
    for first, second in ((low, low + 0.1), (high, high - 0.1), (low, high)):
        child = crossover(first, second, number, rng, share=1.0)
        assert child.min() >= 0
        assert child.max() <= 1
        assert child.min() == 0 or child.max() == 1  # clipped at the boundary
    assert mutate(low, number, rng, 1.0).min() == 0
    assert mutate(high, number, rng, 1.0).max() == 1


def test_a_rank_of_ones_own_decides_before_the_front_does():
    values = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 0.5], [0.5, 2.0]])
    assert select(values, 4, np.array([1, 0, 0, 0]))[-1] == 0
    assert select(values, 2).tolist()[0] == 0
    assert len(select(values, 9)) == 4


def test_a_category_comes_from_one_of_the_parents_or_is_drawn_anew():
    rng, n = np.random.default_rng(5), 3000
    x, y = np.full((n, 6), 1 / 6), np.full((n, 6), 5 / 6)
    child = crossover(x, y, CATEGORIES, rng)
    assert set(np.unique(child[:, 5])) == {1 / 6, 5 / 6}
    changed = mutate(x, CATEGORIES, rng, probability=1.0)[:, 5]
    counts = np.bincount((changed * 3).astype(int), minlength=3)
    assert (abs(counts - n / 3) < 4 * np.sqrt(n * 2 / 9)).all()


def test_mutation_changes_one_column_on_average_and_stays_in_the_cube():
    rng, x = np.random.default_rng(6), np.random.default_rng(7).random((4000, 6))
    changed = mutate(x, CATEGORIES, rng)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (changed != x).sum(1).mean() == pytest.approx(1, abs=0.06)


def test_a_large_eta_mutates_near():
    x = np.full((4000, 1), 0.5)
    near, far = (
        np.abs(mutate(x, np.zeros(1, int), np.random.default_rng(8), 1.0, eta) - 0.5)
        for eta in (100.0, 2.0)
    )
    # E |d| = 1 / (eta + 2) for the polynomial distribution
    assert near.mean() == pytest.approx(1 / 102, rel=0.1)
    assert far.mean() == pytest.approx(1 / 4, rel=0.1)
