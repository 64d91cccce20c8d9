"""Importances where they are known, and their steadiness on prescribed shares."""

from types import SimpleNamespace

import optuna
import pytest

from deepseek_learn.tuner import AutoTuner, importance


def study(results):
    trials = [SimpleNamespace(number=n) for n in range(2 * results)]
    return SimpleNamespace(trials=trials, complete=trials[::2])  # the rest failed


@pytest.fixture
def asked(monkeypatch):
    """The recorded calls of `_shares`, and the results it will return."""
    calls, answers = [], []

    def shares(study, trials, objective, evaluator, trees=importance.TREES):
        calls.append((trials, objective, evaluator, trees))
        return answers.pop(0)

    monkeypatch.setattr(importance, "_shares", shares)
    return calls, answers


@pytest.mark.parametrize(("results", "half"), [(8, 4), (9, 5)])
@pytest.mark.parametrize("same", [0, 3, 10])
def test_steadiness_is_the_share_of_halves_that_agree(asked, results, half, same):
    calls, answers = asked
    agree, differ = {"a": 0.9, "b": 0.1}, {"b": 0.6, "a": 0.4}
    answers += [agree, *[agree] * same, *[differ] * (importance.HALVES - same)]
    some = study(results)
    assert importance.steadiness(some, "e") == same / importance.HALVES
    assert not answers
    (whole, *_), *halves = calls
    assert whole == some.complete
    for trials, objective, evaluator, trees in halves:
        numbers = {trial.number for trial in trials}
        assert len(numbers) == len(trials) == half
        assert numbers <= {trial.number for trial in some.complete}
        assert (objective, evaluator) == ("e", "fanova")
        assert trees == importance.HALF_TREES
    assert len({tuple(t.number for t in trials) for trials, *_ in halves}) > 1


def test_where_nothing_matters_nothing_is_steady(asked):
    calls, answers = asked
    answers += [{"a": 0.0, "b": 0.0}]
    assert importance.steadiness(study(8), "e") == 0
    assert len(calls) == 1


def test_four_results_are_enough_and_three_are_not(asked):
    _, answers = asked
    answers += [{"a": 1.0}]
    assert importance.importances(study(4), "e") == {"a": 1.0}
    with pytest.raises(ValueError, match="at least 4 results; the study has 3"):
        importance.importances(study(3), "e")


def sampled(objective, space, trials):
    sampler = optuna.samplers.RandomSampler(seed=0)
    tuner = AutoTuner(objective, space, ("e",), sampler=sampler)
    return tuner.run(trials, progress=False)


def test_each_decade_of_a_logarithmic_range_weighs_the_same():
    def objective(trial):
        return {"e": (trial["lr"] < 1e-3) + trial["x"] / 2}

    study = sampled(objective, {"lr": (1e-5, 1e-1, "log"), "x": (0.0, 1.0)}, 60)
    # the variance of half the range is 1/4, that of x / 2 is 1/48; on a linear range,
    # lr would be below 1e-3 in one case of a hundred, and its variance less than 1/100
    assert study.importances()["e"]["lr"] == pytest.approx(12 / 13, abs=0.1)


def test_a_category_with_many_choices_takes_no_longer_than_a_number():
    """In Optuna's own encoding, the time doubles with each choice."""
    names = [f"row {i}" for i in range(40)]

    def objective(trial):
        return {"e": names.index(trial["row"]) + trial["x"]}

    shares = sampled(objective, {"row": names, "x": (0.0, 1.0)}, 40).importances()["e"]
    assert [*shares] == ["row", "x"]
    assert shares["row"] > 0.9


def test_a_forest_is_fitted_to_no_more_than_a_hundred_trials(monkeypatch):
    sizes, evaluator = [], optuna.importance.FanovaImportanceEvaluator
    evaluate = evaluator.evaluate

    def counting(self, study, **options):
        sizes.append(len(study.trials))
        return evaluate(self, study, **options)

    monkeypatch.setattr(evaluator, "evaluate", counting)
    for trials in (99, 130):
        study = sampled(lambda trial: {"e": trial["x"]}, {"x": (0.0, 1.0)}, trials)
        assert study.importances()["e"]["x"] == pytest.approx(1)
    assert sizes == [99, importance.MOST]
