"""Odd answers get a specific message; none is mistaken for a bug in the course."""

import math
import re

import numpy as np
import pytest
import torch

from deepseek_learn import catalog
from deepseek_learn.course import checking, expect, problems
from deepseek_learn.course.expect import AnswerRaised
from deepseek_learn.course.problem import Failed, define


def check(id, source):
    answer = define(source, problems.get(id).answer)
    return checking.check(id, answer, seed=0, record=False)


def refused(call, *arguments):
    with pytest.raises(Failed) as result:
        call(*arguments)
    return catalog.text(result.value.key, **result.value.values)


@pytest.mark.parametrize(
    "number", [2, 2.0, np.float32(2), torch.tensor(2, dtype=torch.bfloat16)]
)
def test_one_number_of_any_kind_has_no_shape(number):
    assert expect.shape(number, (), "f(x)") == 2


@pytest.mark.parametrize("number", [math.nan, math.inf, torch.tensor(math.nan)])
def test_shape_lets_the_check_speak_of_nan_and_infinity(number):
    assert expect.shape(number, (), "f(x)").shape == ()


def test_wrong_shape_is_named():
    sentence = "`f(x)` must have the shape [9]; it has [2, 3]."
    assert refused(expect.shape, torch.ones(2, 3), (9,), "f(x)") == sentence
    assert refused(expect.close, np.ones((2, 3)), np.ones(9), "f(x)") == sentence


class Raises:
    def __array__(self, *args, **kwargs):
        raise RuntimeError("no array")

    def detach(self):
        raise RuntimeError("no tensor")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        "text",
        torch.ones(2, dtype=torch.complex64),
        np.ones(2, dtype=complex),
        10**400,
        [[1], [2, 3]],
        torch.ones(2).to_sparse(),
        torch.ones(2, device="meta"),
        Raises(),
    ],
)
def test_what_cannot_become_numbers_is_the_answers_fault(answer):
    kind = type(answer).__name__
    sentence = f"`f(x)` must be numeric; its type is {kind}."
    assert refused(expect.numbers, answer, "f(x)") == sentence


def test_array_seen_backwards_can_become_a_tensor():
    got = expect.numbers(np.arange(3.0)[::-1], "f(x)")
    assert torch.from_numpy(got).tolist() == [2, 1, 0]


def test_tensor_is_asked_for_where_one_is_compared():
    sentence = "`f(x)` must be of type Tensor; it is of type ndarray."
    assert refused(expect.close, np.ones(2), torch.ones(2), "f(x)") == sentence


def test_generator_that_raises_is_the_learners_error():
    def answer():
        yield 1
        raise ZeroDivisionError

    with pytest.raises(AnswerRaised):
        expect.parts(answer(), 2, "f(x)")


@pytest.mark.parametrize(
    ("id", "description", "words"),
    [
        ("fold_the_gate", "no bias at all", r"\[1\]` must be numeric; .* NoneType"),
        (
            "inspect_your_pictures",
            "capital suffixes left out",
            r"images gate\.JPG.* lists lawn\.jpg, roof\.v2\.png, wall\.jpg\.",
        ),
        ("match_the_scale", "not a number", "your gain nan the mean .* should be 1"),
        ("match_the_scale", "rounded to bfloat16", r"your gain \d.* should be 1"),
        (
            "mend_the_broadcast",
            "a 5x5 kernel",
            r"`spatial_attn\.weight` must have the shape \[1, \d+, 3, 3\]",
        ),
        (
            "mend_the_broadcast",
            "a linear layer in place of a convolution",
            r"`channel_attn\.1\.weight` must have the shape .*; it has \[\d+, 1\]",
        ),
    ],
)
def test_wrong_answer_hears_what_is_wrong(id, description, words):
    problem = problems.get(id)
    outcome = check(id, problem.wrong[description])
    assert outcome.status == "failed"
    assert re.search(words, outcome.message), outcome.message


@pytest.mark.parametrize("number", ["nan", "inf"])
def test_fold_of_nan_or_infinity_is_shown_as_such(number):
    source = f"""import torch

def fold_gate(weight, bias, kernel):
    return weight.new_full((9, weight.shape[1]), float("{number}")), torch.zeros(9)
"""
    outcome = check("fold_the_gate", source)
    assert outcome.status == "failed"
    assert re.search(r"`shift_sum\(taps\)` is (nan|-?inf) at position", outcome.message)


def test_other_width_between_the_layers_still_passes():
    problem = problems.get("mend_the_broadcast")
    outcome = check(problem.id, problem.solution.replace("// 8", "// 4"))
    assert outcome.passed, outcome


@pytest.mark.parametrize("size", [1e-3, 1.0, 1e6])
def test_close_allows_its_tolerance_and_no_more(size):
    want = np.array([0.0, size])
    bound = 1e-5 * max(1.0, size)
    expect.close(want + 0.99 * bound, want, "f(x)")
    assert "at position [0]" in refused(
        expect.close, want + np.array([1.01 * bound, 0]), want, "f(x)"
    )
    assert refused(expect.close, want - np.array([0, 1.01 * bound]), want, "f(x)")


@pytest.mark.parametrize("got", [True, False, np.True_])
def test_truth(got):
    assert expect.boolean(got, "f(x)") is bool(got)


@pytest.mark.parametrize("got", [1, 0.0, None, torch.tensor(True), np.array([True])])
def test_what_only_counts_as_true_is_no_truth(got):
    assert "must be of type bool" in refused(expect.boolean, got, "f(x)")


@pytest.mark.parametrize("got", [3, np.int32(3), torch.tensor(3), np.array(3)])
def test_whole(got):
    assert expect.integer(got, "f(x)") == 3


def test_a_whole_number_is_exact():
    assert expect.integer(2**60 + 1, "f(x)") == 2**60 + 1


@pytest.mark.parametrize("got", [3.0, True, torch.tensor(3.0), np.float64(3), "3"])
def test_what_is_not_whole(got):
    assert refused(expect.integer, got, "f(x)")


def test_dtype_that_the_task_names():
    sentence = refused(expect.tensor, torch.ones(2).int(), "f(x)", torch.int64)
    assert sentence == "`f(x)` must be of dtype torch.int64; it is torch.int32."
    expect.tensor(torch.ones(2).long(), "f(x)", torch.int64)


@pytest.mark.parametrize(
    ("got", "want", "shown"),
    [
        (1164240, 1164242, ("1164240", "1164242")),
        (0.5, 0.25, ("0.5", "0.25")),
        (1.664710001, 1.66471, ("1.664710001", "1.66471")),
        (float("nan"), 3.0, ("nan", "3")),
        (float("inf"), 0.1, ("inf", "0.1")),
        (1e300, 2.0, ("1e+300", "2")),
    ],
)
def test_two_numbers_are_told_apart(got, want, shown):
    values = Failed("expect.value", what="f(x)", got=got, want=want).values
    assert (values["got"], values["want"]) == shown
