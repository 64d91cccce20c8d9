"""Pruning with several objectives: which trials stop, and where reports are stored."""

import json
import warnings

import numpy as np
import optuna
import pytest

from deepseek_learn.tuner import DominationPruner
from deepseek_learn.tuner.pruning import expected_values, values_at

PRUNED = optuna.trial.TrialState.PRUNED


def study(m=2, directions=None, storage=None):
    directions = directions or ["minimize"] * m
    sampler = optuna.samplers.RandomSampler(seed=0)
    return optuna.create_study(
        directions=directions, sampler=sampler, storage=storage, study_name="s"
    )


def reports(pruner, some, values, step=1):
    """Whether a new trial that reports these values should stop."""
    return pruner.report(some.ask(), step, values)


def test_the_dominated_is_stopped_and_who_dominates_goes_on():
    some, pruner = study(), DominationPruner(rungs=(1,), startup=4)
    for values in ((1, 4), (2, 3), (3, 2), (4, 1)):
        assert not reports(pruner, some, values)  # none dominates another
    assert reports(pruner, some, (5, 5))
    assert not reports(pruner, some, (0, 0))


def test_trade_offs_are_never_stopped():
    some, pruner = study(), DominationPruner(startup=1)
    x = np.random.default_rng(0).permutation(20)
    assert not any(reports(pruner, some, (v, 20 - v)) for v in x)


def test_a_maximized_objective_counts_the_other_way():
    some = study(directions=["maximize", "minimize"])
    pruner = DominationPruner(startup=3)
    for values in ((0.9, 1.0), (0.8, 0.5), (0.7, 0.4)):
        assert not reports(pruner, some, values)
    assert reports(pruner, some, (0.1, 2.0))
    assert not reports(pruner, some, (0.99, 0.3))


def test_with_one_objective_the_worse_half_is_stopped():
    some, pruner = study(1), DominationPruner(startup=10)
    values = np.random.default_rng(1).permutation(200).astype(float)
    stopped = np.array([reports(pruner, some, [v]) for v in values])
    for i in range(10, 200):
        # the rule, by ranks: a trial stops if more than half are better
        better = (values[:i] < values[i]).sum()
        assert stopped[i] == (better > np.quantile(np.arange(i + 1), 0.5))
    assert stopped[10:].mean() == pytest.approx(0.5, abs=0.12)


def test_nobody_is_stopped_before_there_are_enough_or_off_the_rungs():
    some, pruner = study(), DominationPruner(rungs=(2,), startup=5)
    for i in range(4):
        assert not reports(pruner, some, (i, i), step=2)
    for i in range(20):
        assert not reports(pruner, some, (9 + i, 9 + i), step=1)
    assert reports(pruner, some, (99, 99), step=2)


def test_keep_is_the_share_that_goes_on():
    everyone, few = DominationPruner(keep=1.0), DominationPruner(keep=0.1)
    line = np.arange(20.0)[:, None]
    for i in range(20):
        values = np.vstack([line[i], np.delete(line, i, axis=0)])
        assert not everyone.hopeless(values)
        assert few.hopeless(values) == (i > 1.9)


def test_reports_of_pruned_trials_count_too_and_are_kept():
    some, pruner = study(), DominationPruner(rungs=(1, 3), startup=2)
    first = some.ask()
    pruner.report(first, 1, (1, 2))
    pruner.report(first, 2, (0.5, 2))
    some.tell(first, state=PRUNED)
    kept = some.trials[0]
    assert kept.state == PRUNED
    assert values_at(kept, 1) == [1, 2]
    assert values_at(kept, 3) is None
    assert expected_values(some.trials) == [[0.5, 2]]  # no trial to correct it by
    assert reports(pruner, some, (3, 3))  # only the pruned trial to compare with
    assert expected_values(some.trials)[1] is None  # still running


def test_a_pruned_trial_is_expected_to_go_on_as_others_did():
    some, pruner = study(), DominationPruner(rungs=(2,), startup=99)
    for gain in (1, 2, 9):  # from (5, 5) at epoch 2 to (5 - gain, 5)
        trial = some.ask()
        pruner.report(trial, 2, (5, 5))
        some.tell(trial, (5 - gain, 5))
    stopped = some.ask()
    pruner.report(stopped, 2, (7, 8))
    some.tell(stopped, state=PRUNED)
    expected = expected_values(some.trials)
    assert expected[:3] == [[4, 5], [3, 5], [-4, 5]]
    assert expected[3] == [7 - 2, 8]  # the median gain


def test_reports_to_optuna_itself_count_as_well():
    some = optuna.create_study()
    for gain in (1, 2, 9):
        trial = some.ask()
        trial.report(7, 3)
        trial.report(5, 1)
        some.tell(trial, 5 - gain)
    stopped = some.ask()
    stopped.report(6, 1)
    stopped.report(8, 3)  # the others went from 7 to 5 - gain: a median change of -4
    some.tell(stopped, state=PRUNED)
    assert expected_values(some.trials)[3] == [8 - 4]


def test_expectations_stay_finite_near_the_largest_float():
    some, pruner, large = study(1), DominationPruner(rungs=(9,)), 1.7e308
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        for _ in range(2):
            trial = some.ask()
            pruner.report(trial, 1, [-large])
            some.tell(trial, large)
        for told in (-large, 0.0, large):
            trial = some.ask()
            pruner.report(trial, 1, [told])
            some.tell(trial, state=PRUNED)
        expected = expected_values(some.trials)
        down = study(1)
        for told, result in ((large, -large), (0.0, None)):
            trial = down.ask()
            pruner.report(trial, 1, [told])
            state = None if result else PRUNED
            down.tell(trial, result, state=state)
        lowest = expected_values(down.trials)[1]
    largest = np.finfo(float).max
    assert expected[2:] == [[large], [largest], [largest]]
    assert lowest == [-largest]


def test_finished_trials_that_broke_a_limit_stop_nobody():
    for broken, stops in ((0.0, True), (0.1, False)):
        some, pruner = study(), DominationPruner(rungs=(1,), startup=2)
        for _ in range(4):
            trial = some.ask()
            pruner.report(trial, 1, (1, 1))
            trial.set_constraint("size", broken)
            some.tell(trial, (1, 1))
        assert reports(pruner, some, (2, 2)) == stops


def test_whole_numbers_of_numpy_are_kept_as_pythons():
    some = study()
    trial = some.ask()
    DominationPruner().report(trial, np.int64(1), (1, 2))
    assert json.dumps(some.trials[0].user_attrs)


def test_another_process_sees_the_reports(tmp_path):
    url = f"sqlite:///{tmp_path}/study.db"
    here, pruner = study(storage=url), DominationPruner(startup=3)
    for values in ((1, 1), (1, 2)):
        reports(pruner, here, values)
    there = optuna.load_study(study_name="s", storage=url)
    assert reports(DominationPruner(startup=3), there, (9, 9))


@pytest.mark.parametrize(
    ("values", "word"),
    [((1,), "2 finite"), ((1, float("nan")), "finite"), ((1, 2, 3), "2 finite")],
)
def test_a_report_without_a_number_for_each_objective_is_refused(values, word):
    with pytest.raises(ValueError, match=word):
        reports(DominationPruner(), study(), values)


def test_numpys_integers_are_settings_too():
    pruner = DominationPruner(np.array([1, 3]), 0.5, np.int64(4))
    assert json.dumps([pruner.rungs, pruner.startup]) == "[[1, 3], 4]"


@pytest.mark.parametrize(
    "given",
    [{"rungs": ()}, {"rungs": (3, 1)}, {"rungs": (0,)}, {"rungs": (1, 1)}, {"keep": 0},
     {"keep": 1.5}, {"startup": 0}, {"startup": True}],
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        DominationPruner(**given)
