"""The comparison protocol: the search, and steps to a target."""

import math

import pytest

from deepseek_learn import catalog
from deepseek_learn.optim import steps_to, tune

AXES = {"lr": (1, 2, 4, 8, 16), "schedule": ("linear", "cosine"), "decay": (0, 1, 2)}
START = {"lr": 2, "schedule": "linear", "decay": 0}


def bowl(c):
    """The minimum, 1, is at lr 8, cosine, decay 1."""
    loss = 1 + (math.log2(c["lr"]) - 3) ** 2 + (c["decay"] - 1) ** 2
    return loss + (c["schedule"] == "linear")


def test_the_search_finds_an_interior_optimum_and_tries_nothing_twice():
    calls = []
    result = tune(AXES, START, lambda c: calls.append(dict(c)) or bowl(c), 20)
    assert result.best == {"lr": 8, "schedule": "cosine", "decay": 1}
    assert result.loss == 1
    assert result.interior
    assert result.edges == ("schedule",)
    assert "at the end of schedule: nothing beyond that was tried" in result.why()
    assert len(result.to_frame()) == len(calls) < 20
    assert len({tuple(c.values()) for c in calls}) == len(calls)
    for name, values in AXES.items():  # every neighbor was tried
        i = values.index(result.best[name])
        for j in {i - 1, i + 1} & set(range(len(values))):
            assert result.best | {name: values[j]} in calls


def test_a_search_that_is_cut_off_says_so(monkeypatch):
    result = tune(AXES, START, bowl, 3)
    assert len(result.trials) == 3
    assert not result.interior
    assert result.loss == result.trials["loss"].min()
    assert "before all its neighbors were tried" in result.why()
    assert "no better neighbor" in tune(AXES, START, bowl, 30).why()
    assert len(result.plot().data) == 2
    monkeypatch.setattr(catalog, "_current", "zh")
    assert "预算用完" in result.why()


def test_a_run_that_diverged_is_never_the_best():
    diverges = lambda c: math.inf if c["lr"] > 2 else bowl(c)  # noqa: E731
    assert tune(AXES, START, diverges, 30).best["lr"] == 2
    unknown = lambda c: math.nan if c["lr"] < 4 else bowl(c)  # noqa: E731
    assert tune(AXES, START, unknown, 30).loss == 1  # it starts where the loss is NaN


def test_steps_are_read_off_a_line_over_the_logarithm():
    losses = {400: 0.0, 100: 2.0, 200: 1.0}
    assert steps_to(1.5, losses) == pytest.approx(100 * 2**0.5)
    assert steps_to(1.0, losses) == pytest.approx(200)
    assert steps_to(0.5, losses) == pytest.approx(200 * 2**0.5)
    assert steps_to(3.0, losses) == 100  # an upper bound
    assert steps_to(-1.0, losses) is None
    for diverged in (math.inf, math.nan):
        assert steps_to(1.0, {100: diverged, 200: 0.5}) == 200
        assert steps_to(1.0, {100: diverged}) is None
    # the first budget that reaches it counts, though a longer one missed it
    assert steps_to(1.2, {100: 2.0, 200: 1.0, 400: 1.5}) < 200


def test_refusals():
    with pytest.raises(ValueError, match="'lr' is 3, not one of"):
        tune(AXES, START | {"lr": 3}, bowl, 5)
    with pytest.raises(ValueError, match="budget must be at least 1; got 0"):
        tune(AXES, START, bowl, 0)
    with pytest.raises(ValueError, match="at least one run"):
        steps_to(1.0, {})


def test_axes_may_come_in_every_kind_of_iterable():
    def loss(settings):
        return (settings["lr"] - 2) ** 2 + (settings["wd"] - 0.1) ** 2

    axes = {"lr": range(1, 5), "wd": (0.0, 0.1, 0.2)}
    expected = tune(axes, {"lr": 4, "wd": 0.0}, loss, 20)
    iterators = {"lr": iter(axes["lr"]), "wd": (x for x in axes["wd"])}
    result = tune(iterators, {"lr": 4, "wd": 0.0}, loss, 20)
    assert result.best == expected.best == {"lr": 2, "wd": 0.1}
    assert result.trials.equals(expected.trials)
