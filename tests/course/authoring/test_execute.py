"""What the author's run of a lesson keeps, and what it drops."""

import nbformat
import pytest

from deepseek_learn import course
from deepseek_learn.course import problems
from deepseek_learn.course.authoring import execute
from deepseek_learn.course.problem import define
from deepseek_learn.errors import DeepSeekLearnError

pytest.importorskip("nbclient", reason="nbclient comes with jupyterlab")

SOLVED = problems.get("shift_sum").solution
CELLS = [
    "from deepseek_learn import course\ncourse.progress()",
    f"{SOLVED}\nprint(course.check('shift_sum', shift_sum).note)",
    "from IPython.display import display\ndisplay(course.progress())\n1 + 1",
    "print(course.progress().passed)",
]

BAR = """import ipywidgets
with ipywidgets.Output() as output:
    print("as a progress bar does in a notebook")
7"""


@pytest.fixture(autouse=True)
def a_busy_machine(monkeypatch):
    """What a lesson may take is not what these tests look at."""
    monkeypatch.setattr(execute, "LIMIT_S", 600)


@pytest.mark.notebook
def test_no_progress_is_published_and_the_authors_is_left_alone(tmp_path, own_home):
    course.check("shift_sum", define(SOLVED, "shift_sum"))
    before = (own_home / "progress.json").read_bytes()
    path = tmp_path / "lesson.ipynb"
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)

    assert len(list(execute.execute([path]))) == 1

    done = nbformat.read(path, as_version=4).cells
    assert done[0].outputs == []
    assert [o.data["text/plain"] for o in done[2].outputs] == ["2"]
    # the kernel had its own progress, empty at the start
    assert done[3].outputs[0].text == "['shift_sum']\n"
    assert (own_home / "progress.json").read_bytes() == before


@pytest.mark.notebook
def test_what_is_printed_into_a_widget_stops_nothing_and_is_not_stored(tmp_path):
    path = tmp_path / "lesson.ipynb"
    cells = [nbformat.v4.new_code_cell(BAR)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)

    assert len(list(execute.execute([path]))) == 1

    notebook = nbformat.read(path, as_version=4)
    assert [o.data["text/plain"] for o in notebook.cells[0].outputs] == ["7"]
    assert "widgets" not in notebook.metadata


@pytest.mark.notebook
@pytest.mark.parametrize("limit", ["LIMIT_S", "LIMIT_MIB"])
def test_a_lesson_over_a_limit_changes_nothing(tmp_path, monkeypatch, limit):
    path = tmp_path / "lesson.ipynb"
    cells = [nbformat.v4.new_code_cell("1 + 1")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    before = path.read_bytes()
    monkeypatch.setattr(execute, limit, -1)  # to nbclient, no timeout of a cell

    with pytest.raises(DeepSeekLearnError, match="a lesson may take"):
        list(execute.execute([path]))

    assert path.read_bytes() == before
