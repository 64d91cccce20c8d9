"""The acquisition: history, gains in hypervolume, and breeding."""

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution

from deepseek_learn.tuner import acquisition, hypervolume, proposal, surrogate
from deepseek_learn.tuner.acquisition import Acquisition
from deepseek_learn.tuner.encoding import Encoding
from deepseek_learn.tuner.history import History
from deepseek_learn.tuner.pareto import nondominated_rank
from deepseek_learn.tuner.surrogate import Models, last_refit

SQUARE = Encoding({"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)})
EXACT = np.log([0.5, 0.5, 1e-6])  # lengths and noise: the model passes through the data


def history(points, losses, violations=None, pending=None):
    points, losses = np.array(points, float), np.array(losses, float)
    count, dimensions = points.shape
    violations = np.zeros((count, 0)) if violations is None else np.array(violations)
    pending = np.zeros((0, dimensions)) if pending is None else np.array(pending)
    return History(points, losses, violations, pending)


def cloud(n=24, limits=0, pending=None, seed=0):
    """Trials of two objectives that conflict in `x`; limits require a large `y`."""
    points = np.random.default_rng(seed).random((n, 2))
    x, y = points.T
    losses = np.stack([x + y / 4, 1 - x + y / 4], axis=1)
    return history(points, losses, np.stack([0.5 - y] * limits, axis=1) if limits else
                   None, pending)  # fmt: skip


def test_failed_trials_count_as_the_worst():
    nan = [np.nan, np.nan]
    filled = history([[0, 0]] * 4, [[1, 9], nan, [3, 2], nan]).filled()
    assert filled.losses.tolist() == [[1, 9], [3, 9], [3, 2], [3, 9]]
    assert history([[0, 0]] * 2, [nan, nan]).filled().losses.tolist() == [[0, 0]] * 2
    partly = history([[0, 0]] * 2, [[5, np.nan], [1, 2]]).filled()
    assert partly.losses.tolist() == [[1, 2], [1, 2]]


def test_the_first_trials_of_a_history():
    some = cloud(9, limits=1, pending=[[0.5, 0.5]])
    first = some.first(4)
    assert len(first) == 4
    assert (first.losses == some.losses[:4]).all()
    assert (first.violations == some.violations[:4]).all()
    assert (first.pending == some.pending).all()


def test_ranks_are_fronts_and_then_the_share_by_which_limits_are_broken():
    losses = [[1, 1], [2, 2], [0, 0], [0, 0], [0, 0], [1, 1]]
    broken = [[0, 0], [-1, -5], [10, 0], [0, 1], [4, 2], [-9, 0]]
    # the others by their relative excess: 10/10, 1/5, 4/10 + 2/5
    ranks = history([[0, 0]] * 6, losses, broken).ranks()
    assert ranks.tolist() == [0, 1, 6 + 2, 6 + 0, 6 + 1, 0]
    other_units = history([[0, 0]] * 6, losses, np.array(broken) * [1e3, 1e-3])
    assert (other_units.ranks() == ranks).all()
    # relative 0.1, 0.5, 1 and 0.2 + 0.9, where the absolute ones are 10, 1, 100, 21.8
    broken = [[10, 0], [0, 1], [100, 0], [20, 1.8], [0, -2]]
    assert history([[0, 0]] * 5, [[0, 0]] * 5, broken).ranks().tolist() == [
        5,
        6,
        7,
        8,
        0,
    ]
    free = cloud()
    assert (free.ranks() == nondominated_rank(free.losses)).all()
    none = history([[0, 0]] * 3, [[1, 1]] * 3, [[3.0], [1.0], [2.0]])
    assert none.ranks().tolist() == [5, 3, 4]


def test_standardized_columns_say_where_their_zero_lies():
    column = np.array([1.0, 3.0, 5.0, 11.0])
    standard, zero = surrogate._standard(column)
    assert standard.mean() == pytest.approx(0)
    assert standard.std() == pytest.approx(1)
    assert zero == pytest.approx(np.interp(0, *_line(column, standard)))
    assert surrogate._standard(np.full(3, 2.0))[0].tolist() == [0, 0, 0]


def _line(x, y):
    """Two distant points of the line through (x, y)."""
    slope = (y[1] - y[0]) / (x[1] - x[0])
    return [-99, 99], [y[0] + slope * (-99 - x[0]), y[0] + slope * (99 - x[0])]


def test_models_pass_through_the_data_and_see_limits_where_they_are_broken():
    some = cloud(30, limits=2)
    some.violations[:, 1] *= 100
    models = Models(SQUARE, some, [EXACT] * 4)
    assert models.losses.mean(0) == pytest.approx([0, 0])
    assert models.losses.std(0) == pytest.approx([1, 1])
    assert models.losses_at(some.points) == pytest.approx(models.losses, abs=0.01)
    # both limits are equal in units of their spread
    spread = some.violations[:, 0].std()
    excess = 2 * np.maximum(some.violations[:, 0], 0) / spread
    assert models.excess_at(some.points) == pytest.approx(excess, abs=0.02)
    probe = np.array([[0.99, 0.01]])
    assert (models.losses_at(probe, 2.0) < models.losses_at(probe)).all()
    assert (models.losses_at(probe, 0.0) == models.losses_at(probe)).all()
    free = Models(SQUARE, cloud(30), [EXACT] * 2)
    assert free.excess_at(some.points).tolist() == [0] * 30


def test_lengths_are_fitted_for_each_objective_and_limit():
    some = cloud(20, limits=1)
    result = surrogate.lengths(SQUARE, some)
    assert [len(logs) for logs in result] == [3, 3, 3]
    first, second = result[0][:2], result[2][:2]
    assert first[0] < first[1]  # the first objective changes mostly with x
    assert second[1] < second[0]  # the limit changes with y only


def test_lengths_are_fitted_at_each_early_trial_and_then_at_a_quarter_more():
    assert [last_refit(trials) for trials in (5, 8, 9, 39, 40)] == [5, 8, 9, 39, 40]
    fitted = [last_refit(trials) for trials in range(41, 100)]
    assert fitted == [40] * 9 + [50] * 13 + [63] * 16 + [79] * 20 + [99]


@pytest.mark.parametrize("m", [1, 2, 3])
def test_gains_are_those_in_hypervolume(m, monkeypatch):
    monkeypatch.setattr(acquisition, "DIRECTIONS", 40_000)
    rng = np.random.default_rng(m)
    sizes = np.array([1.0, 50.0, 0.2])[:m]
    front = rng.uniform(0.3, 1, (6, m)) * sizes
    reference, low = 1.1 * sizes, front.min(0)
    promise = Acquisition(front, reference, low, rng)
    points = rng.uniform(0, 1.2, (12, m)) * sizes
    gain, reach = promise.gain(points)
    before = hypervolume(front, reference)
    true = [hypervolume(np.vstack([front, p]), reference) - before for p in points]
    # volume = box x |positive unit sphere| / m x the mean over it of t^m
    sphere = {1: 1, 2: np.pi / 2, 3: np.pi / 2}[m] / m * np.prod(reference - low)
    assert gain * sphere == pytest.approx(np.array(true), rel=0.05, abs=0.01 * before)
    assert ((reach > 0) == (points < reference).all(1)).all()
    assert (reach == promise.reach(points).max(1)).all()


def test_a_front_beyond_the_reference_counts_as_nothing(monkeypatch):
    monkeypatch.setattr(acquisition, "DIRECTIONS", 40_000)
    rng = np.random.default_rng(0)
    far = Acquisition(np.array([[5.0, 5.0]]), np.ones(2), np.zeros(2), rng)
    gain, reach = far.gain(np.array([[3.0, 0.5], [0.0, 0.0]]))
    assert gain[0] == 0
    assert reach[0] < 0
    assert gain[1] * np.pi / 4 == pytest.approx(1, rel=0.02)  # the whole square


def test_an_objective_that_is_even_does_no_harm():
    rng = np.random.default_rng(0)
    same = Acquisition(np.ones((2, 2)), np.ones(2), np.ones(2), rng)
    assert np.isfinite(same.reach(np.zeros((3, 2)))).all()


@pytest.mark.parametrize(("before", "stalled"), [(0.0219, True), (0.0221, False)])
def test_a_front_has_stalled_when_five_trials_bring_less_than_two_percent(
    before, stalled
):
    # from the reference 1.1, a tenth beyond the worst, to the best, 0: a step
    # from `before` is before / 1.1 of the hypervolume
    losses = np.array([[1.0], [before], [1], [1], [0], [1], [1]])
    assert acquisition.stalled(losses, np.arange(7)) == stalled
    assert acquisition.stalled(7 * losses - 3, np.arange(7)) == stalled
    early = np.array([[0.0], [1.0], [1], [1], [1], [1], [1]])
    assert acquisition.stalled(early, np.arange(7))
    # the fifth trial from the end is among the last five, the sixth is not
    fifth = np.array([[1.0], [1.0], [0], [1], [1], [1], [1]])
    assert not acquisition.stalled(fifth, np.arange(7))
    assert acquisition.stalled(fifth[[0, 2, 1, 3, 4, 5, 6]], np.arange(7))


def test_no_front_has_stalled_after_five_trials():
    assert not acquisition.stalled(np.ones((5, 1)), np.arange(5))
    assert acquisition.stalled(np.array([[0.0], *[[1]] * 5]), np.arange(6))


def test_stalling_counts_areas_with_two_objectives():
    # two trials, (0, 1) and (1, 0), share the area below the reference (1.1, 1.1)
    losses = np.array([[0, 1.0], *[[1, 1]] * 4, [1.0, 0]])
    assert not acquisition.stalled(losses, np.arange(6))
    assert acquisition.stalled(losses[[0, 5, 1, 2, 3, 4, 4]], np.arange(7))
    for before, stalled in ((0.0105, True), (0.0115, False)):  # 1 - b / 1.1, squared
        line = np.array([1, before, 1, 1, 0, 1, 1])
        assert acquisition.stalled(np.stack([line, line], 1), np.arange(7)) == stalled


@pytest.mark.parametrize("where", ["points", "pending"])
def test_what_is_nearer_than_a_fiftieth_for_each_hyperparameter_is_not_new(where):
    known = {"points": [[0.2, 0.2]], "pending": [[0.9, 0.9]]} | {where: [[0.5, 0.5]]}
    some = history(known["points"], [[0, 0]], pending=known["pending"])
    limit = 0.02 * np.sqrt(2)
    probes = 0.5 + np.array([[limit - 1e-4, 0], [0, limit + 1e-4], [-0.021, -0.021]])
    fresh = proposal._fresh(SQUARE, probes, some)
    assert fresh.tolist() == [False, True, True]
    assert proposal._fresh(SQUARE, probes[:1], some).tolist() == [True]  # none is new


def test_another_category_is_new():
    space = {f"c{i}": CategoricalDistribution(("a", "b")) for i in range(2)}
    encoding = Encoding(space)
    some = history([[0.25, 0.25]], [[0]])
    probes = np.array([[0.25, 0.25], [0.25, 0.75]])
    assert proposal._fresh(encoding, probes, some).tolist() == [False, True]


def near(target):
    """A score that prefers points near `target`: excess, gain, reach."""

    def look(points):
        distance = np.abs(points - target).max(1)
        return np.zeros(len(points)), -distance, -distance

    return look


def breed(look, parents, **changed):
    given = {"generations": 4, "children": 40, "immigrants": 0} | changed
    rng = np.random.default_rng(0)
    return proposal._breed(SQUARE, np.array(parents), look, rng, **given)


def test_all_children_are_returned_with_what_was_told_of_them():
    look = near(0.8)
    bred, told = breed(look, [[0.1, 0.1], [0.3, 0.2]])
    assert bred.shape == (160, 2)
    assert all((a == b).all() for a, b in zip(told, look(bred), strict=True))
    assert ((bred >= 0) & (bred <= 1)).all()


def test_each_generation_comes_of_the_best_so_far():
    bred, (_, gain, _) = breed(near(0.8), [[0.1, 0.1], [0.3, 0.2]], generations=8)
    by_generation = gain.reshape(8, 40).mean(1)
    assert by_generation[-1] > by_generation[0] + 0.2
    # excess takes precedence over gain, and gain over reach
    for key, better in ((0, -1), (1, 1), (2, 1)):

        def look(points, key=key, better=better):
            told = [np.zeros(len(points)) for _ in range(3)]
            told[key] = better * points[:, 0]
            for later in range(key + 1, 3):
                told[later] = -better * points[:, 0] * (1 if later else -1)
            return tuple(told)

        bred, _ = breed(look, [[0.5, 0.5], [0.4, 0.5]], generations=8)
        assert bred[-40:, 0].mean() > 0.8


def test_strangers_have_no_parents_and_come_first_only():
    parents = [[0.01, 0.01], [0.02, 0.02]]
    bred, _ = breed(near(0.0), parents, generations=2, children=400, immigrants=200)
    immigrants, young, later = bred[:200], bred[200:400], bred[400:]
    # uniform: a mean of 1/2, a variance of 1/12
    assert abs(immigrants.mean() - 0.5) < 4 / np.sqrt(12 * 400)
    assert young.mean() < 0.1
    assert later.mean() < 0.1


def test_children_spread_wide_first_and_near_later(monkeypatch):
    seen = []
    crossover, mutate = proposal.crossover, proposal.mutate

    def crossing(first, second, categories, rng, eta):
        seen.append(eta)
        assert (first != second).any()  # two parents, not one twice
        return crossover(first, second, categories, rng, eta)

    def mutating(points, categories, rng, probability, eta):
        seen.append((probability, eta))
        return mutate(points, categories, rng, probability, eta=eta)

    monkeypatch.setattr(proposal, "crossover", crossing)
    monkeypatch.setattr(proposal, "mutate", mutating)
    breed(near(0.5), [[0.1, 0.1], [0.3, 0.2]], generations=3)
    # one and a half of two hyperparameters change on average
    assert seen == [5, (0.75, 5)] + [15, (0.75, 20)] * 2


MIXED = Encoding({"x": FloatDistribution(0, 1),
                  "kind": CategoricalDistribution(["a", "b", "c"])})  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_the_best_children_climb_one_axis_after_another(seed):
    points = MIXED.snap(np.random.default_rng(seed).random((9, 2)))

    def score(at):  # best at 0.5 and "b", which is in the middle of its axis
        height = -np.abs(at[:, 0] - 0.5) - (np.abs(at[:, 1] - 0.5) > 0.2)
        return np.zeros(len(at)), height, height

    rng = np.random.default_rng(seed)
    moved, scores = proposal._climb(MIXED, points, score, score(points), rng)
    assert (moved[:9] == points).all()
    for part, told in zip(score(moved), scores, strict=True):
        assert (part == told).all()
    best = points[np.argsort(-score(points)[1], kind="stable")[:4]]
    for before, after in zip(best, moved[9:], strict=True):
        assert after[1] == pytest.approx(0.5)
        x, steps = before[0], np.array([0, 0.1, 0.03, -0.1, -0.03])
        for _ in range(3):
            places = np.clip(x + steps, 0, 1)
            x = places[np.abs(places - 0.5).argmin()]
        assert abs(after[0] - 0.5) == pytest.approx(abs(x - 0.5))


def test_who_keeps_the_limits_climbs_before_who_gains():
    points = np.array([[0.2, 0.2], [0.8, 0.8]])

    def score(at):
        return np.maximum(at[:, 0] - 0.25, 0), at[:, 0], at[:, 0]

    rng = np.random.default_rng(0)
    moved, _ = proposal._climb(SQUARE, points, score, score(points), rng)
    # up to the limit, and three times down toward it
    assert sorted(moved[2:, 0]) == pytest.approx([0.23, 0.5])


@pytest.mark.parametrize(
    ("trials", "share"), [(12, 0.5), (25, 0.5), (34, 0.2), (40, 0)]
)
def test_half_of_the_early_trials_are_bold(trials, share, monkeypatch):
    climbed, climb = [], proposal._climb
    monkeypatch.setattr(proposal, "stalled", lambda *_: False)
    monkeypatch.setattr(
        proposal, "_climb", lambda *some: climbed.append(1) or climb(*some)
    )
    some = cloud(trials)
    for seed in range(100):
        propose(some, seed, generations=1)
    assert abs(len(climbed) - 100 * share) <= 20 * (share > 0)


def test_a_bold_trial_trusts_the_models(monkeypatch):
    watch = Watch(monkeypatch, bold=1.0)
    propose(cloud(6))
    assert watch.breeds == [(6, 2, 12, 3)]
    assert set(watch.spreads) == {1.0}
    [(front, reference, _)] = watch.promises
    assert (reference > front.max(0)).all()


class Watch:
    """Records what `propose` passes to its parts."""

    def __init__(self, monkeypatch, stalled=False, bold=0.0):
        self.promises, self.breeds, self.spreads = [], [], []
        breed, promise = proposal._breed, proposal.Acquisition
        losses_at = Models.losses_at

        def breeding(encoding, parents, score, rng, generations, children, immigrants):
            self.breeds.append((len(parents), generations, children, immigrants))
            some = rng, generations, children, immigrants
            return breed(encoding, parents, score, *some)

        def promising(front, reference, low, rng):
            self.promises.append((front, reference, low))
            return promise(front, reference, low, rng)

        def spreading(models, points, spreads=0.0):
            self.spreads.append(spreads)
            return losses_at(models, points, spreads)

        monkeypatch.setattr(proposal, "_breed", breeding)
        monkeypatch.setattr(proposal, "Acquisition", promising)
        monkeypatch.setattr(proposal, "stalled", lambda *_: stalled)
        monkeypatch.setattr(proposal, "BOLD", bold)
        monkeypatch.setattr(Models, "losses_at", spreading)


def propose(some, seed=0, logs=EXACT, **changed):
    count = some.losses.shape[1] + some.violations.shape[1]
    given = {"population": 10, "generations": 2, "children": 12} | changed
    rng = np.random.default_rng(seed)
    return proposal.propose(SQUARE, some, [logs] * count, rng, **given)


def test_a_proposal_gains_and_is_new():
    some = cloud()
    point = propose(some, children=60, generations=5)
    assert np.abs(some.points - point).max(1).min() > 0.02
    x, y = point
    losses = np.array([x + y / 4, 1 - x + y / 4])
    worse = (losses <= some.losses).all(1)
    assert worse.sum() >= np.median([(a <= some.losses).all(1).sum() for a in
                                     some.losses])  # fmt: skip
    assert y < np.median(some.points[:, 1])  # a smaller y improves every objective


def test_the_best_that_is_new_is_proposed(monkeypatch):
    monkeypatch.setattr(proposal, "BOLD", 0.0)
    some = cloud(8)
    known, new = some.points[:1], np.array([[0.11, 0.02], [0.93, 0.04], [0.51, 0.01]])
    bred = np.vstack([known, new])

    def told(*looks):
        monkeypatch.setattr(proposal, "_breed", lambda *_: (bred, looks))
        return propose(some).tolist()

    flat, rising = np.zeros(4), np.array([9.0, 1, 2, 3])
    assert told(flat, rising, flat) == new[2].tolist()
    assert told(flat, flat, rising) == new[2].tolist()
    assert told(rising, rising, rising) == new[0].tolist()
    assert told(flat, rising, -rising) == new[2].tolist()


def test_a_proposal_keeps_the_limits():
    points = [propose(cloud(limits=1), seed, children=60) for seed in range(5)]
    assert np.mean([y > 0.45 for _, y in points]) >= 0.8


@pytest.mark.parametrize(("trials", "trust"), [(8, 1.0), (4, 0.5), (40, 1.0)])
def test_references_lie_between_the_middle_and_the_ends(trials, trust, monkeypatch):
    watch, some = Watch(monkeypatch), cloud(trials)
    for seed in range(120):
        propose(some, seed, generations=1)
    models = Models(SQUARE, some, [EXACT] * 2)
    parents = proposal.select(models.losses, 10, some.ranks())
    worst = models.losses[parents].max(0)
    shares = []
    for front, reference, low in watch.promises:
        assert (low == front.min(0)).all()
        share = (reference - low) / (worst - low + 1e-3)
        assert share[0] == pytest.approx(share[1])
        shares.append(share[0])
    # uniform over 0.2 .. 0.6 + 0.5 trust; 120 draws come near both ends
    assert 0.2 <= min(shares) < 0.24
    assert 0.6 + 0.5 * trust - 0.06 < max(shares) <= 0.6 + 0.5 * trust
    assert set(watch.spreads) == {0}


@pytest.mark.parametrize(("trials", "immigrants"), [(7, 0), (8, 3), (24, 3)])
def test_the_whole_space_is_looked_at_once_there_are_enough_trials(
    trials, immigrants, monkeypatch
):
    watch = Watch(monkeypatch)
    propose(cloud(trials))
    # a quarter of the children, once there are four trials per hyperparameter
    assert watch.breeds == [(min(trials, 10), 2, 12, immigrants)]


def test_a_front_that_has_stalled_is_explored_every_second_time(monkeypatch):
    watch, some = Watch(monkeypatch, stalled=True), cloud()
    models = Models(SQUARE, some, [EXACT] * 2)
    front = models.losses[some.ranks() == 0]
    explored, wide = 0, 0
    for seed in range(100):
        watch.spreads.clear(), watch.breeds.clear(), watch.promises.clear()
        propose(some, seed)
        if set(watch.spreads) == {0}:
            assert watch.breeds == [(10, 2, 12, 3)]
            continue
        explored += 1
        assert set(watch.spreads) == {2.0}
        assert watch.breeds == [(10, 1, 12, 0)]
        ((_, reference, _),) = watch.promises
        ends = [part.max(0) + 0.1 * np.ptp(part, axis=0) for part in
                (front, models.losses)]  # fmt: skip
        assert any(reference == pytest.approx(end) for end in ends)
        wide += reference == pytest.approx(ends[1])
    # binomial: 100 and about 50 coin tosses, within four standard deviations
    assert abs(explored - 50) < 20
    assert abs(wide - explored / 2) < 4 * np.sqrt(explored) / 2


def test_a_front_of_one_is_explored_with_some_room(monkeypatch):
    watch = Watch(monkeypatch, stalled=True)
    points = np.random.default_rng(0).random((9, 2))
    some = history(points, points.sum(1)[:, None] ** 2)
    for seed in range(30):
        propose(some, seed)
    for _, reference, low in watch.promises:
        assert reference > low


def test_what_others_are_at_belongs_to_the_front(monkeypatch):
    watch = Watch(monkeypatch)
    pending = [[0.4, 0.02], [0.6, 0.02]]
    some = cloud(pending=pending)
    propose(some)
    models = Models(SQUARE, some, [EXACT] * 2)
    ((front, _, low),) = watch.promises
    known = models.losses[some.ranks() == 0]
    assert (front == np.vstack([known, models.losses_at(np.array(pending))])).all()
    assert (low == front.min(0)).all()


def test_without_a_trial_within_the_limits_the_nearest_is_the_front(monkeypatch):
    watch, some = Watch(monkeypatch), cloud(12, limits=1)
    some.violations[:] += 5
    propose(some)
    models = Models(SQUARE, some, [EXACT] * 3)
    nearest = some.violations[:, 0].argmin()
    assert (watch.promises[0][0] == models.losses[[nearest]]).all()
