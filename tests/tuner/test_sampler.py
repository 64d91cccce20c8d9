"""The genetic sampler on Optuna studies of every kind."""

import warnings

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from deepseek_learn.tuner import DominationPruner, GeneticSampler
from deepseek_learn.tuner.encoding import Encoding
from deepseek_learn.tuner.sampler import common_space

PRUNED, RUNNING = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.RUNNING
CUBE = {f"x{i}": FloatDistribution(0, 1) for i in range(4)}
MIXED = {
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
    "width": IntDistribution(4, 64, log=True),
    "depth": IntDistribution(1, 5, step=2),
    "dropout": FloatDistribution(0, 0.5, step=0.1),
    "activation": CategoricalDistribution(("relu", "gelu", "tanh")),
}


def study(m=2, seed=0, directions=None, storage=None, **settings):
    return optuna.create_study(
        directions=directions or ["minimize"] * m,
        sampler=GeneticSampler(seed=seed, **settings),
        storage=storage,
        study_name="s",
        load_if_exists=True,
    )


def bowl(params, m=2):
    """Each objective has its minimum at a different point."""
    x = np.array([params[f"x{i}"] for i in range(4)])
    return [float(((x - (j + 1) / (m + 1)) ** 2).sum()) for j in range(m)]


def run(some, trials, space=CUBE, objective=bowl):
    for _ in range(trials):
        trial = some.ask(space)
        some.tell(trial, objective(trial.params))
    return [trial.params for trial in some.trials]


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_it_finds_better_than_chance_with_one_to_four_objectives(m):
    ours = study(m)
    run(ours, 40, objective=lambda p: bowl(p, m))
    rng = np.random.default_rng(0)
    chance = [
        min(
            sum(bowl(dict(zip(CUBE, rng.random(4), strict=True)), m)) for _ in range(40)
        )
        for _ in range(20)
    ]
    result = min(sum(trial.values) for trial in ours.trials)
    assert result < np.quantile(chance, 0.25)


def test_a_maximized_objective_is_searched_as_its_negative():
    down = run(study(2), 25)
    signs = study(directions=["maximize", "minimize"])
    up = run(signs, 25, objective=lambda p: [-bowl(p)[0], bowl(p)[1]])
    assert up == down


def test_the_same_seed_gives_the_same_trials_and_another_gives_others():
    assert run(study(seed=3), 20) == run(study(seed=3), 20)
    assert run(study(seed=3), 20) != run(study(seed=4), 20)


@pytest.mark.slow
def test_a_resumed_search_goes_on_as_if_it_had_not_been_cut_off(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    whole = run(study(seed=1), 24)
    for part in (5, 9, 10):
        resumed = run(study(seed=1, storage=url), part)
    assert resumed == whole


def test_every_kind_of_hyperparameter_gets_values_of_its_own_and_all_categories():
    some = study()

    def objective(params):
        size = params["width"] * params["depth"] / 320
        off = (np.log10(params["lr"]) + 3) ** 2 / 4 + params["dropout"]
        return [float(off + (params["activation"] != "gelu")), size]

    run(some, 40, MIXED, objective)
    for trial in some.trials:
        for name, value in trial.params.items():
            assert MIXED[name]._contains(MIXED[name].to_internal_repr(value))
    assert len({trial.params["activation"] for trial in some.trials}) == 3
    late = [trial.params["activation"] for trial in some.trials[20:]]
    assert late.count("gelu") > len(late) / 2


def test_the_first_trials_are_spread_evenly():
    # of 8 Sobol points exactly one lies in each eighth of every axis; the very first
    # trial is drawn before the space is known
    params = run(study(startup=8), 8)[1:]
    for name in CUBE:
        eighths = [int(p[name] * 8) for p in params]
        assert len(set(eighths)) == 7


def test_no_point_is_tried_twice_while_others_are_left():
    space = {"a": IntDistribution(0, 9), "b": IntDistribution(0, 9)}

    def objective(params):
        return [float(params["a"]), float(9 - params["a"] + params["b"])]

    params = run(study(), 40, space, objective)
    distinct = {tuple(p.values()) for p in params}
    assert len(distinct) >= 36  # startup does not avoid duplicates


def test_what_runs_elsewhere_is_not_proposed_again():
    some = study()
    run(some, 15)
    together = [some.ask(CUBE) for _ in range(4)]
    assert all(trial.state == RUNNING for trial in some.trials[15:])
    points = np.array([[t.params[name] for name in CUBE] for t in together])
    gaps = np.abs(points[:, None] - points[None]).max(2) + np.eye(4)
    assert gaps.min() > 1e-3


def test_trials_that_keep_the_limits_come_first():
    some = study()
    for _ in range(45):
        trial = some.ask(CUBE)
        trial.set_constraint("x0 at least 0.7", 0.7 - trial.params["x0"])
        some.tell(trial, bowl(trial.params))
    kept = [t.params["x0"] >= 0.7 for t in some.trials]
    assert np.mean(kept[20:]) > 0.6  # at random: 0.3


def test_it_goes_on_when_no_trial_keeps_the_limits_and_comes_nearer():
    some = study(1)
    for _ in range(30):
        trial = some.ask(CUBE)
        trial.set_constraint("impossible", 2 - trial.params["x0"])
        some.tell(trial, bowl(trial.params, 1))
    early, late = (
        [t.params["x0"] for t in part] for part in (some.trials[:8], some.trials[-8:])
    )
    assert np.mean(late) > np.mean(early)


@pytest.mark.parametrize("reported", [True, False])
def test_a_pruned_trial_counts_with_what_it_reported(reported):
    proposed = []
    for worse in (0.0, 5.0):
        some = study()
        run(some, 12)
        trial = some.ask(CUBE)
        if reported:
            values = [value + worse for value in bowl(trial.params)]
            DominationPruner(rungs=(99,)).report(trial, 1, values)
        some.tell(trial, state=PRUNED)
        proposed.append(some.ask(CUBE).params)
    assert (proposed[0] != proposed[1]) == reported


FAIL = optuna.trial.TrialState.FAIL


@pytest.mark.parametrize("how", ["failed", "infinite"])
def test_where_trials_fail_is_not_looked_at_for_ever(how):
    """The optimum lies next to the failing region, as with a learning rate."""
    some, fails = study(m=1), 0
    for _ in range(40):
        trial = some.ask({"lr": CUBE["x0"], "other": CUBE["x1"]})
        if trial.params["lr"] < 0.5:
            some.tell(trial, 1 - trial.params["lr"])
            continue
        fails += 1
        told = {"state": FAIL} if how == "failed" else {"values": float("inf")}
        some.tell(trial, **told)
    assert fails <= 20  # at random: half of them
    assert min(t.value for t in some.trials if t.values) < 0.55


def test_a_trial_whose_worker_died_or_was_stopped_tells_nothing():
    proposed = []
    for note in (None, {"worker": {"pid": 1}}, {"failure": {"kind": "interrupted"}}):
        some = study()
        run(some, 12)
        if note:
            trial = some.ask(CUBE)
            for name, value in note.items():
                trial.set_user_attr(name, value)
            some.tell(trial, state=FAIL)
        history = some.sampler._history(some, Encoding(CUBE), CUBE)
        proposed.append(len(history))
    assert proposed == [12, 12, 12]


def test_it_waits_for_a_first_result_when_all_fail():
    some = study(startup=3)
    for _ in range(12):
        some.tell(some.ask(CUBE), state=FAIL)
    run(some, 6)
    assert len({tuple(t.params.values()) for t in some.trials}) == 18


def conditional(trial):
    """Each optimizer has two hyperparameters of its own; the minimum is 0."""
    kind = trial.suggest_categorical("optimizer", ("sgd", "adam"))
    rate = np.log10(trial.suggest_float("lr", 1e-4, 1, log=True))
    own = {"sgd": ("momentum", "dampening"), "adam": ("beta1", "beta2")}[kind]
    first, second = (trial.suggest_float(name, 0, 1) for name in own)
    far = 0.3 * (rate + (1 if kind == "sgd" else 3)) ** 2
    return far + 4 * (first - 0.9) ** 2 + 2 * (second - 0.1) ** 2


def test_hyperparameters_that_only_some_trials_have_are_searched_too():
    def best(sampler):
        some = optuna.create_study(sampler=sampler)
        some.optimize(conditional, n_trials=40)
        return some.best_value

    ours = [best(GeneticSampler(seed=seed)) for seed in range(3)]
    chance = [best(optuna.samplers.RandomSampler(seed=seed)) for seed in range(20)]
    assert np.median(ours) < np.quantile(chance, 0.05)


def test_hyperparameters_that_only_some_trials_have_do_no_harm():
    def objective(trial):
        kind = trial.suggest_categorical("optimizer", ("sgd", "adam"))
        lr = trial.suggest_float("lr", 1e-4, 1, log=True)
        if kind == "sgd":
            return lr, trial.suggest_float("momentum", 0, 1)
        return lr, trial.suggest_float("beta", 0.5, 1)

    some = study()
    some.optimize(objective, n_trials=30)
    assert len(some.trials) == 30
    assert {"momentum", "beta"} <= {name for t in some.trials for name in t.params}


def test_a_hyperparameter_whose_range_changes_is_drawn_at_random():
    def objective(trial):
        x = trial.suggest_float("x", 0, 1)
        y = trial.suggest_float("y", 0, 1 + trial.number % 3)
        assert y <= 1 + trial.number % 3
        return x + y

    some = optuna.create_study(sampler=GeneticSampler(seed=0))
    some.optimize(objective, n_trials=20)
    finished = some.get_trials(deepcopy=False)
    assert set(common_space(finished)) == {"x"}


def test_values_near_the_largest_float_are_searched_like_small_ones():
    large = 1.7e308

    def found(scale):
        some = study()
        return run(some, 20, objective=lambda p: [s * scale for s in signed(p)])

    def signed(params):
        return [2 * params["x0"] - 1, 1 - 2 * params["x0"] * params["x1"]]

    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        # a power of two loses no precision
        assert found(2.0**1023) == found(1.0)
        some = study(1)
        run(some, 20, objective=lambda p: [large * (2 * p["x0"] - 1)])
    assert min(t.value for t in some.trials) < -0.9 * large


def test_pruned_trials_of_optunas_own_pruners_count_too():
    """Their reports went to Optuna, not to our pruner."""

    def proposal(worse):
        some = study(1)
        run(some, 12, objective=lambda p: bowl(p, 1))
        trial = some.ask(CUBE)
        trial.report(bowl(trial.params, 1)[0] + worse, 1)
        some.tell(trial, state=PRUNED)
        return some.ask(CUBE).params

    assert proposal(0.0) != proposal(5.0)


def test_constant_and_infinite_values_do_no_harm():
    some = study()

    def objective(params):
        first = float("inf") if params["x0"] > 0.8 else 1.0
        return [first, params["x1"]]

    params = run(some, 30, objective=objective)
    assert min(p["x1"] for p in params) < 0.1


def test_a_space_with_a_single_value_is_no_trouble():
    space = CUBE | {"fixed": CategoricalDistribution(("only",))}
    assert all(p["fixed"] == "only" for p in run(study(), 15, space))


def test_two_threads_can_share_one():
    some = study()
    some.optimize(
        lambda t: bowl({n: t.suggest_float(n, 0, 1) for n in CUBE}), 24, n_jobs=2
    )
    assert len(some.trials) == 24


def test_without_surrogate_it_is_the_plain_genetic_algorithm():
    some = study(surrogate=False)
    run(some, 60)
    early, late = (
        [sum(t.values) for t in part] for part in (some.trials[:8], some.trials[-20:])
    )
    assert np.mean(late) < np.mean(early)


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("population_size", 2),
        ("startup", 2),
        ("children", 4),
        ("generations", 1),
        ("seed", 0),
    ],
)
def test_settings_that_are_too_small_are_refused(name, least):
    GeneticSampler(**{name: least})
    with pytest.raises(ValueError, match=f"{name} must be a whole number .* got"):
        GeneticSampler(**{name: least - 1})


def test_the_smallest_settings_search():
    some = study(population_size=2, startup=2, children=4, generations=1)
    assert len({tuple(p.values()) for p in run(some, 6)}) == 6
