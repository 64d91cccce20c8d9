"""The search space: accepted entries, membership, number of configurations."""

import math

import numpy as np
import pytest
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from deepseek_learn.tuner.space import (
    check_config,
    configurations,
    read_entry,
    read_space,
    suggest,
    write_space,
)


@pytest.mark.parametrize(
    ("entry", "distribution"),
    [
        (
            [1, 2.5, "a", None, False],
            CategoricalDistribution([1, 2.5, "a", None, False]),
        ),
        ([np.int64(3)], CategoricalDistribution([3])),
        ((1, 5), IntDistribution(1, 5)),
        ((-5, 0), IntDistribution(-5, 0)),
        ((1, 5, "log"), IntDistribution(1, 5, log=True)),
        ((0, 5.0), FloatDistribution(0.0, 5.0)),
        ((0.0, 5), FloatDistribution(0.0, 5.0)),
        ((1e-5, 1e-1, "log"), FloatDistribution(1e-5, 1e-1, log=True)),
        ((np.int32(1), np.int64(5)), IntDistribution(1, 5)),
        (IntDistribution(1, 5, step=2), IntDistribution(1, 5, step=2)),
    ],
)
def test_entries_are_optunas_distributions(entry, distribution):
    read = read_entry("x", entry)
    assert read == distribution
    assert read_space({"x": entry}) == {"x": distribution}


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ((1,), "must be a list of choices"),
        ((1, 2, 3), "must be a list of choices"),
        ((1, 2, "lin"), "must be a list of choices"),
        ((1, 2, "log", "log"), "must be a list of choices"),
        ((False, 2), "must be a list of choices"),
        ((1, True), "must be a list of choices"),
        (("1", 2), "must be a list of choices"),
        ({1, 2}, "must be a list of choices"),
        ((2, 2), "must have low < high"),
        ((2.0, 2.0), "must have low < high"),
        ((3, 2), "must have low < high"),
        ((0, 2, "log"), 'above 0 with "log"'),
        ((-1.0, 2.0, "log"), 'above 0 with "log"'),
        ((-1e308, 1e308), "both finite with a finite difference"),
        ((0, math.inf), "both finite"),
        ([], "at least one choice and no duplicates"),
        ([1, True], "at least one choice and no duplicates"),
        ([1, 2, 1.0], "at least one choice and no duplicates"),
        ([object], "choices must be strings, numbers"),
        ([1, (2, 3)], "choices must be strings, numbers"),
    ],
)
def test_other_entries_are_refused(entry, words):
    with pytest.raises(ValueError, match=words):
        read_entry("x", entry)


@pytest.mark.parametrize("space", [{}, None, [("x", (0, 1))]])
def test_a_space_holds_something(space):
    with pytest.raises(ValueError, match="dictionary of at least one hyperparameter"):
        read_space(space)


@pytest.mark.parametrize("name", ["", 3, None])
def test_a_name_is_a_text(name):
    with pytest.raises(
        ValueError, match="names in space must be nonempty strings; got"
    ):
        read_entry(name, [1])


SPACE = {
    "kind": CategoricalDistribution([1, "a", None]),
    "depth": IntDistribution(1, 7, step=3),
    "width": IntDistribution(2, 5),
    "rate": FloatDistribution(0.03, 0.53, step=0.1),
    "lr": FloatDistribution(1e-5, 1e-1, log=True),
}


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("kind", [1, "a", None], [1.0, True, "b", 0]),
        ("depth", [1, 4, 7, 4.0, np.int64(4)], [0, 2, 3, 8, 10, 4.5, True, "4"]),
        ("width", [2, 3, 5], [1, 6, 2.5, None]),
        ("rate", [0.03, 0.13, 0.23, 0.53], [0.08, 0.1, 0.63, -0.07, "0.13"]),
        ("lr", [1e-5, 3e-3, 1e-1], [0, 9e-6, 0.11, math.nan, math.inf]),
    ],
)
def test_a_configuration_lies_in_the_space(name, inside, outside):
    for value in inside:
        assert check_config(SPACE, {name: value}) == {name: value}
    for value in outside:
        with pytest.raises(ValueError, match=rf"config\['{name}'\] must be in .*got"):
            check_config(SPACE, {name: value})


def test_numpys_numbers_are_kept_as_pythons():
    assert type(check_config(SPACE, {"depth": np.int64(4)})["depth"]) is int


def test_a_configuration_is_of_this_space():
    with pytest.raises(ValueError, match="at least one hyperparameter; got none"):
        check_config(SPACE, {})
    with pytest.raises(ValueError, match=r"'momentum', which is not in the space: \["):
        check_config(SPACE, {"depth": 4, "momentum": 0.9})


def test_configurations_are_counted():
    finite = {name: SPACE[name] for name in ("kind", "depth", "width", "rate")}
    assert configurations(finite) == 3 * 3 * 4 * 6
    assert configurations(SPACE) == math.inf


def test_a_trial_is_asked_for_what_the_distribution_says():
    class Trial:
        def suggest_categorical(self, name, choices):
            return CategoricalDistribution(choices)

        def suggest_int(self, name, low, high, *, step, log):
            return IntDistribution(low, high, log, step)

        def suggest_float(self, name, low, high, *, step, log):
            return FloatDistribution(low, high, log, step)

    space = SPACE | {"heads": IntDistribution(1, 64, log=True)}
    assert {name: suggest(Trial(), name, d) for name, d in space.items()} == space


def test_spaces_differ_in_writing_where_they_differ():
    assert write_space(SPACE) == write_space(dict(SPACE))
    other = SPACE | {"width": IntDistribution(2, 6)}
    differing = {
        name
        for name, text in write_space(other).items()
        if text != write_space(SPACE)[name]
    }
    assert differing == {"width"}
