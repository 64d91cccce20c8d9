"""The four outcomes, hints, solutions, and what a learner sees of them."""

import dataclasses
import re

import pytest

from deepseek_learn import catalogue, course
from deepseek_learn.course import problems
from deepseek_learn.course.problem import define
from deepseek_learn.course.source_code import is_untouched

ID = "shift_sum"


def check(source, **options):
    return course.check(ID, define(source, ID), **options)


def test_passed():
    outcome = check(problems.get(ID).solution)
    assert (outcome.status, outcome.points, outcome.possible) == ("passed", 2, 2)
    assert repr(outcome).startswith("✓ shift_sum: passed")


def test_failed_says_what_differed():
    outcome = check("def shift_sum(taps): return taps")
    assert outcome.status == "failed"
    assert re.search(
        r"must have the shape \[\d, 1, .*; it has \[\d, 9, ", outcome.message
    )


def test_raised_names_exception_and_line():
    outcome = check("def shift_sum(taps):\n    n = 0\n    return taps[0] / {}\n")
    assert outcome.status == "raised"
    assert "TypeError" in outcome.message
    assert "line 3 of your code:  return taps[0] / {}" in outcome.message


def test_raised_deep_in_a_library_still_names_the_learners_line():
    outcome = check(
        "import torch\ndef shift_sum(x):\n    return torch.conv2d(x, x, 3)\n"
    )
    assert "line 3 of your code" in outcome.message


def test_wrong_arguments_are_the_learners_mistake():
    outcome = check("def shift_sum(): return 1")
    assert outcome.status == "raised"
    assert "takes 0 positional arguments" in outcome.message


def test_sys_exit_in_an_answer_does_not_end_the_session():
    assert check("def shift_sum(taps): raise SystemExit(1)").status == "raised"


@pytest.mark.parametrize(
    "source",
    [
        "def shift_sum(taps): ...",
        "def shift_sum(taps):\n    '''Nine maps.'''\n    ...",
        "def shift_sum(taps, more=1):\n    # later\n    pass",
        "shift_sum = ...",
        "class shift_sum:\n    def forward(self): ...",
    ],
)
def test_not_attempted(source):
    outcome = check(source)
    assert (outcome.status, outcome.points) == ("not attempted", 0)
    assert "Replace the ... in `shift_sum`" in outcome.message


def test_class_with_given_methods_is_untouched_until_one_changes():
    body = "class A:\n    def __init__(self): self.n = 1\n    def go(self): "
    starter = define(body + "...", "A")
    assert is_untouched(define(body + "...  # hm", "A"), starter)
    assert not is_untouched(define(body + "return 1", "A"), starter)


def test_seed_repeats_a_check():
    wrong = "def shift_sum(taps): return taps.sum(1, keepdim=True)"
    first = check(wrong)
    assert check(wrong, seed=first.seed).message == first.message
    assert check(wrong, seed=first.seed + 1).message != first.message


def test_broken_check_is_not_blamed_on_the_learner(monkeypatch):
    def broken(answer, rng):
        raise ZeroDivisionError("ours")

    problem = dataclasses.replace(problems.get(ID), check=broken)
    monkeypatch.setattr(problems, "get", lambda id: problem)
    with pytest.raises(course.CheckError, match=r"bug of the course.*seed=7"):
        course.check(ID, lambda taps: 1, seed=7)


def test_html_is_escaped_and_leaves_colours_to_the_theme():
    shown = check("def shift_sum(taps): raise ValueError('<b>')")._repr_html_()
    assert "&lt;b&gt;" in shown
    assert "background" not in shown
    assert not re.search(r"[;\"]color:", shown)


def test_code_in_a_message_is_shown_as_code():
    shown = check("def shift_sum(taps): ...")._repr_html_()
    assert "<code>shift_sum</code>" in shown
    assert "`" not in shown


def test_chinese():
    catalogue.set_language("zh")
    assert "通过" in repr(check(problems.get(ID).solution))
