"""Hints and solutions display themselves, wherever in a cell they are called."""

import dataclasses
import html
import re

import pytest

from deepseek_learn import catalog, course
from deepseek_learn.course import display, problems
from deepseek_learn.course.problem import define
from deepseek_learn.errors import UnknownNameError

ID = "shift_sum"
HINTS = [words["en"] for words in problems.get(ID).hints]


@pytest.fixture
def shown(capsys):
    """Returns what a call prints."""

    def shown(verb, *args):
        assert (
            verb(*args) is None
        )  # otherwise a cell that ends with it would show it twice
        return capsys.readouterr().out

    return shown


def test_each_call_shows_one_more_hint_then_all(shown):
    first, second = shown(course.hint, ID), shown(course.hint, ID)
    assert first == f"Hint 1 of 2 (1 left)\n{HINTS[0]}\n"
    assert second == f"Hint 2 of 2 (0 left)\n{HINTS[1]}\n"
    after = shown(course.hint, ID)
    assert "seen all 2" in after
    assert first in after
    assert second in after


def test_a_hint_can_be_read_again_without_taking_the_next(shown):
    first = shown(course.hint, ID)
    assert shown(course.hint, ID, 1) == first
    assert shown(course.hint, ID).startswith("Hint 2 of 2")


@pytest.mark.parametrize("number", [0, 3, -1, "1"])
def test_a_hint_that_is_not_there_is_one_sentence(number):
    with pytest.raises(
        ValueError,
        match=rf"from 1 to 2, the number of hints for “{ID}”; got {number!r}\.$",
    ):
        course.hint(ID, number)


def test_solution_is_the_reference(shown):
    assert problems.get(ID).solution.strip() in shown(course.solution, ID)


def test_graded_problem_shows_no_solution(shown, monkeypatch):
    problem = dataclasses.replace(
        problems.get(ID), kind="graded", solution=None, right={}
    )
    monkeypatch.setattr(problems, "get", lambda id: problem)
    assert "is graded" in shown(course.solution, ID)


@pytest.mark.parametrize("verb", [course.hint, course.solution])
@pytest.mark.parametrize("slip", ["shiftsum", "Shift_Sum", "shift-sum", "shift_sums"])
def test_a_slip_in_the_name_is_told(verb, slip):
    sentence = f"problem '{slip}' is not known; did you mean 'shift_sum'? The known "
    with pytest.raises(UnknownNameError, match=re.escape(sentence)):
        verb(slip)


def test_a_check_of_a_slip_is_told():
    with pytest.raises(UnknownNameError, match="did you mean 'shift_sum'"):
        course.check("shfit_sum", ...)


@pytest.mark.parametrize("name", ["nope", 3, None, ""])
def test_what_resembles_no_name_gets_no_guess(name):
    with pytest.raises(UnknownNameError, match="is not known; the known names are: "):
        course.hint(name)


def test_chinese(shown):
    catalog.set_language("zh")
    assert shown(course.hint, ID).startswith("提示 1/2")


@pytest.mark.notebook
def test_in_a_notebook_every_call_of_a_cell_is_shown(own_home):
    pytest.importorskip("nbclient", reason="nbclient comes with jupyterlab")
    from nbclient import NotebookClient
    from nbformat.v4 import new_code_cell, new_notebook

    source = f"""from deepseek_learn import course
course.hint("{ID}")
course.solution("{ID}")
after = 1"""
    notebook = new_notebook(cells=[new_code_cell(source)])
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    first, second = (o.data["text/html"] for o in notebook.cells[0].outputs)
    assert "<code>taps</code>" in first
    assert "<pre>" in second


@pytest.mark.parametrize("id", problems.names())
def test_colored_code_is_the_same_code(id):
    code = problems.get(id).starter.strip()
    colored = display.python(code)
    assert "<span style=" in colored
    plain = html.unescape(re.sub("<[^>]*>", "", colored))
    assert plain.strip() == code


def test_code_in_words_is_escaped_once():
    assert display.inline("`a < b` & c\n`d") == "<code>a &lt; b</code> &amp; c<br>`d"


def test_a_terminal_gets_colors_and_a_file_none(shown, monkeypatch):
    assert "\x1b" not in shown(course.solution, ID)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    colored = shown(course.solution, ID)
    assert "\x1b[" in colored
    assert "\x1b[36mtaps\x1b[39m" in shown(course.hint, ID)
    plain = re.sub("\x1b\\[[0-9;]*m", "", colored)
    assert define(plain.split("\n\n", 1)[1], ID)  # it can be copied from the output
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(course.solution, ID)
