"""Goals and objective results: what is accepted and what is rejected."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from deepseek_learn.tuner import AutoTuner, Measured
from deepseek_learn.tuner.errors import ObjectiveError
from deepseek_learn.tuner.goals import (
    RESERVED,
    Goals,
    not_finite,
    read_goals,
    read_returned,
)

GOALS = Goals(("error", "latency_ms"), ("speed",), {"size": 30.0, "error": 0.5})
RESULT = {"error": 0.1, "latency_ms": 2, "speed": 3.0, "size": 4}


def test_names_directions_and_signs_have_one_order():
    assert GOALS.names == ("error", "latency_ms", "speed")
    assert GOALS.directions == ["minimize", "minimize", "maximize"]
    assert GOALS.signs.tolist() == [1.0, 1.0, -1.0]
    assert Goals.of(GOALS.to_dict()) == GOALS
    with pytest.raises(FrozenInstanceError):
        GOALS.minimize = ()


def test_goals_are_read_as_they_were_written():
    limits = {"size": np.float32(30), "error": 1}
    goals = read_goals(["error"], ("speed",), limits, ["lr"])
    assert goals == Goals(("error",), ("speed",), {"size": 30.0, "error": 1.0})
    assert all(type(bound) is float for bound in goals.limits.values())
    assert read_goals((), ("speed",), None, ()).limits == {}


def test_names_may_come_from_an_iterator():
    goals = read_goals(
        (n for n in ("error", "size")), {"speed": 1}.keys(), None, ["lr"]
    )
    assert goals == Goals(("error", "size"), ("speed",), {})
    generator = AutoTuner(lambda trial: {}, {"lr": [1]}, iter(["a"]), iter(["b"]))
    assert generator.goals.names == ("a", "b")


@pytest.mark.parametrize("names", ["error", {"error", "size"}, frozenset("ab"), 3, [1]])
def test_names_of_another_type_get_a_sentence(names):
    for options in ((names, ()), ((), names)):
        with pytest.raises(ValueError, match="imize must be a tuple of names; got "):
            read_goals(*options, None, ())


@pytest.mark.parametrize("name", [*RESERVED, "lr"])
def test_hyperparameters_and_columns_are_names_already_taken(name):
    words = rf"column in the study's table; got \['{name}'\]"
    for options in (((name,), (), {}), ((), (name,), {}), (("a",), (), {name: 1})):
        with pytest.raises(ValueError, match=words):
            read_goals(*options, ["lr"])
    with pytest.raises(ObjectiveError, match=f"must not return '{name}', which is"):
        read_returned(GOALS, RESULT | {name: 1}, ["lr"])


@pytest.mark.parametrize("bound", [True, "3", None, np.inf, -np.inf, np.nan, 1j])
def test_a_limit_is_a_finite_number(bound):
    with pytest.raises(ValueError, match=r"limits\['size'\] must be a finite number"):
        read_goals(("error",), (), {"size": bound}, ())


@pytest.mark.parametrize(
    ("minimize", "maximize"),
    [(("a", "a"), ()), ((), ("a", "b", "a")), (("a",), ("a",))],
)
def test_an_objective_is_named_once(minimize, maximize):
    with pytest.raises(ValueError, match=r"each objective once; got \['a'\] twice"):
        read_goals(minimize, maximize, None, ())


def test_there_is_an_objective():
    with pytest.raises(ValueError, match="at least one objective; got none"):
        read_goals((), (), {"size": 1}, ())


@pytest.mark.parametrize("argument", ["minimize", "maximize"])
@pytest.mark.parametrize("names", ["error", ("error", 1), (None,)])
def test_objectives_are_names(argument, names):
    options = {"minimize": (), "maximize": ()} | {argument: names}
    with pytest.raises(ValueError, match=f"{argument} must be a tuple of names; got"):
        read_goals(**options, limits=None, hyperparameters=())


def test_results_come_objectives_first_then_limits_then_notes():
    returned = {"note": 7, **dict(reversed(RESULT.items())), "size": Measured(4, 3, 5)}
    results = read_returned(GOALS, returned)
    assert list(results) == ["error", "latency_ms", "speed", "size", "note"]
    assert results["size"] == Measured(4, 3, 5)
    assert results["note"] == Measured(7.0)
    assert type(results["latency_ms"].value) is float


@pytest.mark.parametrize("name", ["error", "latency_ms", "speed", "size"])
def test_every_objective_and_limit_must_be_returned(name):
    rest = {key: value for key, value in RESULT.items() if key != name}
    with pytest.raises(ObjectiveError, match=rf"\['{name}'\] are missing from"):
        read_returned(GOALS, rest)


@pytest.mark.parametrize("value", ["3", None, [1.0, 2.0], {}])
def test_a_result_is_a_number(value):
    with pytest.raises(ObjectiveError, match=r"must return numbers; got .*for 'speed'"):
        read_returned(GOALS, RESULT | {"speed": value})


def test_a_long_value_is_shown_in_sixty_characters():
    whole, long = "x" * 58, "x" * 59  # and two quotation marks
    with pytest.raises(ObjectiveError, match=rf"got '{whole}'\.$"):
        read_returned(GOALS, whole)
    with pytest.raises(ObjectiveError, match=rf"got '{'x' * 56}\.\.\.\.$"):
        read_returned(GOALS, long)


def test_notes_may_be_infinite_objectives_and_limits_may_not():
    values = {"error": np.nan, "latency_ms": 1.0, "size": np.inf, "note": np.inf}
    results = {name: Measured(value) for name, value in values.items()}
    assert list(not_finite(GOALS, results)) == ["error", "size"]
    assert not_finite(GOALS, {"speed": Measured(1.0)}) == {}
