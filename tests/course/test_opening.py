"""`course.start`: a notebook shows the library's errors as one sentence."""

import pytest

pytest.importorskip("nbclient", reason="nbclient comes with jupyterlab")

from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

pytestmark = pytest.mark.notebook

START = "from deepseek_learn import course\ncourse.start('tour')"
DEEP = """from deepseek_learn.errors import DeepSeekLearnError

class OwnError(DeepSeekLearnError, ValueError):
    pass

def deep(left):
    if left:
        return deep(left - 1)
    try:
        {}["key"]
    except KeyError as error:
        raise OwnError("one sentence.") from error
"""


@pytest.fixture(scope="module")
def errors():
    """The full error output of each cell, without colors."""
    import re

    cells = [START, DEEP, "deep(40)", "%tb", "await deep(40)", "{}['key']"]
    cells += ["course.hint('shiftsum')"]
    notebook = new_notebook(cells=[new_code_cell(source) for source in cells])
    NotebookClient(
        notebook, timeout=100, kernel_name="python3", allow_errors=True
    ).execute()
    shown = {}
    for cell in notebook.cells[2:]:
        (output,) = cell.outputs
        text = "\n".join(output.traceback)
        shown[cell.source] = re.sub("\x1b\\[[0-9;]*m", "", text)
    return shown


@pytest.mark.parametrize("source", ["deep(40)", "await deep(40)"])
def test_error_of_the_library_is_its_sentence_and_where_to_see_more(errors, source):
    hint, sentence = (line for line in errors[source].splitlines() if line)
    assert "use %tb to see the full traceback" in hint
    assert sentence == "OwnError: one sentence."


def test_the_full_traceback_stays_available(errors):
    assert "in deep(left)" in errors["%tb"]
    assert "KeyError: 'key'" in errors["%tb"]


def test_errors_of_others_keep_their_traceback(errors):
    assert "Traceback (most recent call last)" in errors["{}['key']"]


def test_a_slip_is_one_sentence(errors):
    assert "did you mean 'shift_sum'?" in errors["course.hint('shiftsum')"]
    assert "Traceback" not in errors["course.hint('shiftsum')"]
