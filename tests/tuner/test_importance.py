"""Steadiness of importances, by its definition, on prescribed shares."""

from types import SimpleNamespace

import pytest

from deepseek_learn.tuner import importance


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
