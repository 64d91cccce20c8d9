"""The exercise notebooks are up to date, parse, and share their code across languages."""

import ast
import shutil
import subprocess
import sys

import nbformat
import pytest

from deepseek_learn import catalog, course
from deepseek_learn.course import problems
from deepseek_learn.course.authoring import exercises, links
from deepseek_learn.course.lessons import lesson, lessons
from deepseek_learn.errors import UnknownNameError
from deepseek_learn.files import REPOSITORY

WITH_PROBLEMS = [each for each in lessons() if each.problems]


def code_of(notebook):
    return {c.id: c.source for c in notebook.cells if c.cell_type == "code"}


def test_committed_notebooks_are_in_step():
    assert exercises.generate(REPOSITORY, check=True) == []


@pytest.mark.parametrize("each", WITH_PROBLEMS, ids=lambda each: each.slug)
def test_same_code_in_both_languages_but_the_start(each):
    en, zh = (exercises.notebook(each, lang) for lang in ("en", "zh"))
    nbformat.validate(en)
    nbformat.validate(zh)
    assert [c.id for c in en.cells] == [c.id for c in zh.cells]
    assert (en.nbformat, en.nbformat_minor) == (4, 5)
    differ = {id for id, code in code_of(en).items() if code_of(zh)[id] != code}
    assert differ == {"start"}
    for id, code in code_of(en).items():
        ast.parse(code.replace("%pip", "pass  #"), id)


def test_each_problem_has_its_cells_and_no_solution():
    notebook = exercises.notebook(lesson("tour"), "en")
    sources = "\n".join(cell.source for cell in notebook.cells)
    for problem in problems.load("tour"):
        assert f'course.check("{problem.id}", {problem.answer})' in sources
        assert problem.solution.strip() not in sources
    *_, way_on, progress = notebook.cells
    assert "(../../notebooks/basic/00b_tensors_and_training.ipynb)" in way_on.source
    assert progress.source == 'course.progress("tour")'
    assert progress.metadata.tags == ["remove-cell"]


@pytest.mark.parametrize("problem", problems.load(), ids=lambda p: p.id)
def test_hint_and_solution_have_a_cell_each(problem):
    cells = exercises.problem_cells(problem, 1, "en")
    sources = {cell.id.removeprefix(problem.id): cell.source for cell in cells}
    expected = {"-hint": f'# course.hint("{problem.id}")'}
    if problem.kind == "practice":  # a graded problem has none to show
        expected["-solution"] = f'# course.solution("{problem.id}")'
    help = {id: code for id, code in sources.items() if code.startswith("# course.")}
    assert help == expected
    assert ("graded" in sources["-prompt"].split("\n\n")[1]) == (
        problem.kind == "graded"
    )


@pytest.mark.slow
def test_generate_writes_and_check_only_looks(tmp_path):
    stale = exercises.generate(tmp_path, check=True)
    assert len(stale) == 2 * len(WITH_PROBLEMS)
    assert list(tmp_path.iterdir()) == []
    assert exercises.generate(tmp_path) == stale
    assert exercises.generate(tmp_path, check=True) == []
    stale[0].write_text(stale[0].read_text().replace("...", "3"))
    left_over = tmp_path / "exercises" / "basic" / "99_gone.ipynb"
    shutil.copy(stale[1], left_over)
    assert exercises.generate(tmp_path, check=True) == [stale[0], left_over]


@pytest.mark.notebook
def test_untouched_notebook_runs_and_earns_nothing(tmp_path, own_home):
    pytest.importorskip("nbclient", reason="nbclient comes with jupyterlab")
    from nbclient import NotebookClient

    notebook = exercises.notebook(lesson("attention_families"), "zh")
    NotebookClient(notebook, timeout=100, kernel_name="python3").execute()
    outputs = {c.id: c.outputs for c in notebook.cells if c.cell_type == "code"}
    for id in lesson("attention_families").problems:
        assert "尚未作答" in outputs[f"{id}-check"][-1]["data"]["text/html"]
    assert "已通过 0/3" in outputs["progress"][-1]["data"]["text/html"]


def test_start_chooses_language_and_says_one_line(capsys):
    course.start("tour", lang="zh")
    assert capsys.readouterr().out.count("\n") == 1
    assert catalog.language() == "zh"


def test_start_fixes_the_seeds():
    import torch

    course.start("tour")
    first = torch.rand(3)
    course.start("tour")
    assert torch.equal(torch.rand(3), first)


def test_start_of_an_unknown_lesson_changes_nothing():
    with pytest.raises(
        UnknownNameError, match="'tuor' is not known; did you mean 'tour'"
    ):
        course.start("tuor", lang="zh")
    assert catalog.language() == "en"


def test_links_follow_the_one_address(monkeypatch):
    monkeypatch.setattr(links, "repository", lambda: "https://github.com/me/it")
    assert links.pip_spec() == "deepseek-learn @ git+https://github.com/me/it@main"
    notebook = exercises.notebook(lesson("tour"), "zh")
    assert (
        "github/me/it/blob/main/zh/exercises/basic/00_tour" in notebook.cells[0].source
    )
    assert "git+https://github.com/me/it@main" in code_of(notebook)["setup"]


def test_importing_the_course_is_light():
    heavy = "torch plotly nbgrader nbformat pandas ipywidgets matplotlib"
    code = f"""
import sys, deepseek_learn.course
print([name for name in "{heavy}".split() if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_functions_are_not_hidden_by_modules():
    for name in course.__all__:
        assert callable(getattr(course, name)) or name == "problems"
