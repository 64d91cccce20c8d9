"""The fraction of the box that a front dominates, worked out by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from deepseek_learn.tuner import volume
from deepseek_learn.tuner.goals import Goals


def study(rows, numbers=None, trials=None, maximize=0):
    """Solutions `numbers`, of `trials` trials, with the losses `rows`."""
    rows = np.array(rows, dtype=float)
    numbers = [*range(len(rows))] if numbers is None else numbers
    solutions = [SimpleNamespace(number=n, row=r) for n, r in zip(numbers, rows)]  # noqa: B905
    names = tuple("abc"[: rows.shape[1]])
    cut = len(names) - maximize
    front = [
        s
        for s in solutions
        if not ((rows <= s.row).all(1) & (rows < s.row).any(1)).any()
    ]
    return SimpleNamespace(
        feasible=solutions,
        front=front,
        goals=Goals(names[:cut], names[cut:], {}),
        losses=lambda some: np.array([s.row for s in some]),
        trials=[SimpleNamespace(number=n) for n in range(trials or len(rows))],
    )


def test_the_box_goes_a_tenth_of_the_range_beyond_the_worst():
    best, worst = volume.box(study([[0.0, 5.0], [10.0, 1.0]]))
    assert best.tolist() == [0.0, 1.0]
    assert worst == pytest.approx([11.0, 5.4])


def test_where_all_are_alike_the_box_has_a_tenth():
    best, worst = volume.box(study([[3.0], [3.0]]))
    assert best.tolist() == [3.0]
    assert worst == pytest.approx([3.1])


def test_the_box_ends_where_float64_does():
    largest = np.finfo(float).max
    some = study([[-largest], [largest]])
    best, worst = volume.box(some)
    assert (best, worst) == ([-largest], [largest])
    assert volume.share(some, None, None) == pytest.approx(1)
    assert np.isfinite(volume.history(some)).all()


def test_corners_are_given_in_the_users_own_signs():
    some = study([[1.0, -3.0]], maximize=1)  # a small, b = 3 large
    corners = {"a": 2.0, "b": 1.0}, {"b": 5.0, "a": 0.0}
    best, worst = volume.box(some, *corners)
    assert (best.tolist(), worst.tolist()) == ([0.0, -5.0], [2.0, -1.0])
    assert volume.share(some, *corners) == pytest.approx(1 / 2 * 2 / 4)


def test_better_than_the_ideal_is_no_more_than_all_of_the_box():
    some = study([[-1.0, -1.0]])
    corners = {"a": 2.0, "b": 1.0}, {"a": 0.0, "b": 0.0}
    assert volume.share(some, *corners) == pytest.approx(1)


@pytest.mark.parametrize("ideal", [2.0, 3.0])
def test_an_ideal_that_is_no_better_is_refused(ideal):
    with pytest.raises(ValueError, match="ideal must be better than reference"):
        volume.box(study([[1.0, 1.0]]), {"a": 2, "b": 2}, {"a": ideal, "b": 0})


def test_the_history_is_of_the_front_of_its_time():
    # in the box from (0, 0) to (11, 11): of 121, the first holds 1 x 11; the second,
    # on no front, adds nothing; the last dominates all; trials 0, 3, 5, 8 have no solution
    rows = [[10.0, 0.0], [10.0, 5.0], [5.0, 5.0], [0.0, 10.0], [0.0, 0.0]]
    history = volume.history(study(rows, [1, 2, 4, 6, 7], trials=9))
    areas = [0, 11, 11, 11, 11 + 5 * 6, 41, 41 + 5 * 1, 121, 121]
    assert history.to_numpy() * 121 == pytest.approx(areas)
    assert history.index.tolist() == [*range(9)]
    assert history.index.name == "number"


def test_without_a_solution_there_is_no_volume():
    nothing = study(np.empty((0, 2)))
    assert volume.share(nothing, None, None) == 0
    assert isinstance(volume.history(nothing), pd.Series)
    assert volume.history(nothing).empty
