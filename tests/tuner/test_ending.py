"""Runs of the tuner that end early, and say why."""

import optuna
import pytest

from deepseek_learn.tuner import AutoTuner
from deepseek_learn.tuner.space import configurations, read_space

SMALL = {"width": [8, 16], "depth": (1, 3)}
TWO = ("error", "latency_ms")


def trade(trial):
    return {"error": 1 / trial["width"], "latency_ms": trial["width"] * trial["depth"]}


def search(objective=trade, space=SMALL, minimize=TWO, **options):
    return AutoTuner(objective, space, minimize, **options)


def configs(study):
    return {tuple(sorted(trial.params.items())) for trial in study.trials}


@pytest.mark.parametrize(
    ("entry", "count"),
    [
        ([1, "a", None], 3),
        ((2, 7), 6),
        ((1, 64, "log"), 64),
        (optuna.distributions.IntDistribution(1, 9, step=3), 3),
        (optuna.distributions.FloatDistribution(0, 1, step=0.1), 11),
        (optuna.distributions.FloatDistribution(0, 1, step=0.3), 4),
        ((0.0, 1.0), float("inf")),
    ],
)
def test_configurations_of_a_space(entry, count):
    assert configurations(read_space({"a": entry})) == count
    assert configurations(read_space({"a": entry, "b": [1, 2]})) == 2 * count


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_space_smaller_than_trials_ends_early_and_says_so(n_jobs):
    study = search().run(200, progress=False, n_jobs=n_jobs)
    assert len(study.trials) < 50
    assert len(configs(study)) == 6
    assert study.end_reason == "exhausted"
    assert study.why().startswith(
        "The search ended early: every configuration of the space has been tried."
    )


def test_an_exhausted_study_is_not_begun_again_unless_something_is_queued():
    tuner = search()
    count = len(tuner.run(200, progress=False).trials)
    again = tuner.run(200, progress=False)
    assert len(again.trials) == count
    assert again.end_reason == "exhausted"
    tuner.study.enqueue_trial({"width": 8, "depth": 1})
    assert len(tuner.run(200, progress=False).trials) == count + 1


def test_crashes_count_as_tried_and_interruptions_do_not():
    stopped = []

    def objective(trial):
        if trial["width"] == 8:
            raise ValueError("no kernel")
        if trial["depth"] == 3 and not stopped:
            stopped.append(trial.number)
            raise KeyboardInterrupt
        return trade(trial)

    tuner = search(objective)
    tuner.enqueue({"width": 16, "depth": 1})
    first = tuner.run(200, progress=False)
    assert first.end_reason == "interrupted"
    second = tuner.run(200, progress=False)
    assert second.end_reason == "exhausted"
    assert {"width": 16, "depth": 3} in [s.config for s in second.complete]


def test_a_continuous_or_conditional_space_is_not_exhausted():
    space = {"width": [8], "depth": [1], "lr": (0.0, 1.0)}
    study = search(space=space).run(12, progress=False)
    assert len(study.trials) == 12
    assert study.end_reason == ""

    def objective(trial):
        trial.suggest("lr", (0.0, 1.0))
        return trade(trial)

    study = search(objective).run(20, progress=False)
    assert len(study.trials) == 20
    assert study.end_reason == ""


def best_at(numbers):
    """An objective: these trials improve on all earlier ones, the others are worse."""

    def objective(trial):
        return {"error": -trial.number if trial.number in numbers else 1.0}

    return objective


def patient(objective, patience, **options):
    tuner = search(objective, {"x": (0.0, 1.0)}, ("error",), **options)
    return tuner, tuner.run(50, progress=False, patience=patience)


@pytest.mark.parametrize("patience", [1, 3, 6])
def test_patience_ends_a_run_after_so_many_trials_without_improvement(patience):
    _, study = patient(best_at({0, 1, 3, 5}), patience)
    last = {1: 1, 3: 5, 6: 5}[patience]
    assert len(study.trials) == last + 1 + patience
    assert study.end_reason == "stalled"
    assert study.why().startswith("The search ended early: the front had stopped")


def test_an_equal_result_is_no_improvement_and_another_trade_off_is():
    _, study = patient(lambda trial: {"error": 1.0}, 4)
    assert len(study.trials) == 5

    def other(trial):
        return {"a": trial.number, "b": -trial.number if trial.number < 7 else 0}

    study = search(other, {"x": (0.0, 1.0)}, ("a", "b")).run(
        50, progress=False, patience=4
    )
    assert len(study.trials) == 7 + 4


def test_each_run_has_its_own_patience():
    tuner, study = patient(best_at({0}), 3)
    assert len(study.trials) == 4
    assert len(tuner.run(50, progress=False, patience=3).trials) == 7


def test_patience_alone_ends_a_run_and_counts_failures():
    def objective(trial):
        if trial.number:
            raise ValueError("a")
        return {"error": 1.0}

    tuner = search(objective, {"x": (0.0, 1.0)}, ("error",))
    assert len(tuner.run(patience=5, progress=False).trials) == 6


def test_no_trial_within_the_limits_is_no_improvement():
    tuner = search(best_at({0}), {"x": (0.0, 1.0)}, ("error",), limits={"error": -9})
    assert len(tuner.run(50, progress=False, patience=4).trials) == 4


@pytest.mark.parametrize("patience", [0, 2.5, True])
def test_patience_must_be_a_whole_number(patience):
    with pytest.raises(ValueError, match="patience must be a whole number above 0"):
        search().run(5, patience=patience)
