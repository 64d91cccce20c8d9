"""Arguments of an answer: every kind of change is detected, and each is displayed."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn.course import expect
from deepseek_learn.course.arguments import Call, shown
from deepseek_learn.course.problem import Failed


def changing(value, change):
    def answer(given):
        change(given)

    expect.call(answer, value)


CHANGES = {
    "a tensor": (lambda: torch.ones(3), lambda x: x.mul_(2)),
    "a tensor's view": (lambda: torch.ones(3, 2).T, lambda x: x[0].zero_()),
    "its shape": (lambda: torch.ones(3, 2), lambda x: x.resize_(2, 3)),
    "one bit of bfloat16": (
        lambda: torch.zeros(2, dtype=torch.bfloat16),
        lambda x: x.neg_(),
    ),
    "an array": (lambda: np.arange(4.0), lambda x: x.sort() or x.__setitem__(0, 9)),
    "a list": (lambda: [1, 2], lambda x: x.append(3)),
    "a list's order": (lambda: [2, 1], lambda x: x.sort()),
    "a tensor in a list": (lambda: [torch.ones(2)], lambda x: x[0].zero_()),
    "a dictionary": (lambda: {"a": 1}, lambda x: x.update(b=2)),
    "a value of it": (lambda: {"a": np.ones(2)}, lambda x: x["a"].fill(0)),
    "a key of it": (lambda: {"a": 1, "b": 2}, lambda x: x.update(c=x.pop("a"))),
    "a set": (lambda: {1}, lambda x: x.add(2)),
    "another kind": (lambda: [1, [2]], lambda x: x.reverse()),
    "an array in a list": (lambda: [1, 2], lambda x: x.insert(0, np.ones(x.pop()))),
    "a tensor in a dictionary": (lambda: {"a": 1}, lambda x: x.update(a=torch.ones(2))),
    "the kind of a number": (lambda: [1, 2], lambda x: x.insert(0, float(x.pop(0)))),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_change_is_noticed(kind):
    make, change = CHANGES[kind]
    with pytest.raises(Failed) as failed:
        changing(make(), change)
    assert failed.value.values == {"argument": "given"}


@pytest.mark.parametrize("kind", CHANGES)
def test_no_change_is_none(kind):
    given = CHANGES[kind][0]()
    assert expect.call(lambda x: x, given) is given


@pytest.mark.parametrize("value", [math.nan, float("inf"), None, "text", object(), abs])
def test_other_arguments_stand_for_themselves(value):
    assert expect.call(lambda x: x[0], [value]) is value
    nothing = torch.tensor([math.nan])
    assert expect.call(lambda x: x, nothing) is nothing


def test_argument_that_may_change():
    state = {}
    expect.call(lambda g, s: s.update(m=g), torch.ones(2), expect.may_change(state))
    assert list(state) == ["m"]


def test_answer_gets_the_very_object():
    value = [1]
    assert expect.call(lambda x: x, value) is value


def test_names_are_those_of_the_answer():
    def answer(x, *more, key=None): ...

    assert str(Call.of(answer, (1, 2), {"key": "k"})) == "x = 1, more = (2,), key = 'k'"
    assert str(Call.of(nn.Identity(), (1,), {})) == "input = 1"
    assert str(Call.of(lambda: 0, (1,), {"b": 2})) == "1 = 1, b = 2"  # wrong arguments


def test_input_is_shown_as_it_was_before_the_call():
    with pytest.raises(Failed):
        changing([3, 1], lambda x: x.sort())
    assert expect.last_input() == "given = [3, 1]"
    assert expect.last_input() == ""


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (torch.tensor([1.0, 2.5]), "tensor([1. , 2.5], float32)"),
        (np.array([[1, 2]]), "array([[1, 2]], int64)"),
        (torch.zeros(100), "tensor([0., 0., ..., 0., 0.], float32, shape [100])"),
        ([torch.ones(1)] * 5, "[tensor([1.], float32), "),
        (torch.ones(1, dtype=torch.bfloat16), "tensor([1.], bfloat16)"),
        (torch.empty(2, 3, device="meta"), "tensor(float32, shape [2, 3])"),
        (nn.Parameter(torch.ones(1)), "tensor([1.], float32)"),
        (abs, "abs"),
        (nn.Linear, "Linear"),
        (object(), "<object>"),
        ("x" * 500, "'xxx"),
    ],
)
def test_shown_in_one_short_line(value, words):
    line = shown(value)
    assert line.startswith(words)
    assert len(line) < 200
    assert "\n" not in line
