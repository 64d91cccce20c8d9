"""An assignment is generated, submitted right and wrong, graded, and its grades read."""

import csv
import importlib.util
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from deepseek_learn.course import problems
from deepseek_learn.course.authoring import classroom, grading
from deepseek_learn.course.authoring.grading_report import NBGRADER
from deepseek_learn.course.lessons import STAGES, lessons
from deepseek_learn.course.problem import define
from deepseek_learn.errors import DeepSeekLearnError
from deepseek_learn.files import REPOSITORY
from deepseek_learn.sandbox import isolation

LESSON = "spatial_channel_attention"
NAME = f"basic_01_{LESSON}"
# Code after a right answer that makes each call write to stderr and display a number.
WARNING = """
import sys
quiet = fold_gate
def fold_gate(*args):
    print("slow", file=sys.stderr)
    sys.displayhook(1e9)
    return quiet(*args)
"""


@pytest.fixture
def nbgrader():
    if importlib.util.find_spec("nbgrader") is None:
        reason = "nbgrader is not installed (extra: classroom)"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)


def run(folder: Path, *command: str) -> None:
    here = str(Path(sys.executable).parent)  # nbgrader runs alembic from the PATH
    env = os.environ | {
        "PATH": os.pathsep.join([here, os.environ["PATH"]]),
        "PYTHONPATH": str(Path(classroom.REPOSITORY)),
        "JUPYTER_CONFIG_DIR": str(folder / "jupyter"),
        "JUPYTER_DATA_DIR": str(folder / "jupyter"),
        "DEEPSEEK_LEARN_HOME": str(folder / "home"),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *command],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def hand_in(folder: Path, student: str, answers: dict[str, str]) -> None:
    """The released notebook in the student's folder, with some starters replaced."""
    released = folder / "release" / NAME / f"01_{LESSON}.ipynb"
    notebook = nbformat.read(released, 4)
    for cell in notebook.cells:
        id = cell.id.removesuffix("-answer")
        if id in answers and cell.id.endswith("-answer"):
            cell.source = answers[id]
    path = folder / "submitted" / student / NAME / released.name
    path.parent.mkdir(parents=True)
    nbformat.write(notebook, path)


@pytest.mark.skipif(
    isolation() != "namespaces", reason="this system permits no namespaces"
)
@pytest.mark.slow
def test_grades_follow_the_answers(tmp_path, nbgrader, monkeypatch):
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "home"))
    classroom.assignment(tmp_path, lesson=LESSON)
    run(tmp_path, "generate_assignment", NAME)
    release = (tmp_path / "release" / NAME / f"01_{LESSON}.ipynb").read_text()
    assert "HIDDEN" not in release
    assert "BEGIN SOLUTION" not in release

    all_problems = problems.load(LESSON)
    right = {p.id: p.solution for p in all_problems}
    wrong = {p.id: next(iter(p.wrong.values())) for p in all_problems}
    first = all_problems[0]
    hand_in(tmp_path, "right", right)
    hand_in(tmp_path, "half", wrong | {first.id: right[first.id]})
    hand_in(tmp_path, "wrong", wrong)
    hand_in(tmp_path, "empty", {})
    last = all_problems[-1]
    hand_in(
        tmp_path, "ends", right | {last.id: right[last.id] + "\nimport os; os._exit(0)"}
    )
    hand_in(tmp_path, "warns", right | {last.id: right[last.id] + WARNING})
    grading.grade(tmp_path / "submitted", tmp_path / "report", LESSON, say=print)

    with (tmp_path / "report" / "scores.csv").open() as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {row["assignment"] for row in rows.values()} == {NAME}
    possible = sum(p.points for p in all_problems)
    assert {float(row["max_score"]) for row in rows.values()} == {possible}
    scores = {student: float(row["score"]) for student, row in rows.items()}
    expected = {"right": possible, "half": first.points, "wrong": 0, "empty": 0}
    # an ended process costs the problem it ended in; output changes nothing
    expected |= {"ends": possible - last.points, "warns": possible}
    assert scores == expected
    # grading must not write into the teacher's own progress
    assert not (tmp_path / "home" / "progress.json").exists()


def test_scores_have_the_columns_of_nbgraders_export(nbgrader):
    from nbgrader.plugins.export import CsvExportPlugin

    source = inspect.getsource(CsvExportPlugin)
    assert re.findall(r'^ +"(\w+)",?$', source, re.MULTILINE) == list(NBGRADER)


def test_source_notebook_carries_the_reference_and_the_points(tmp_path):
    (path,) = classroom.assignment(tmp_path, lesson=LESSON)
    cells = {cell.id: cell for cell in nbformat.read(path, 4).cells}
    for problem in problems.load(LESSON):
        assert cells[f"{problem.id}-tests"].metadata.nbgrader.points == problem.points
        define(cells[f"{problem.id}-answer"].source, problem.answer)  # it runs


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_each_stages_example_has_one_graded_problem(tmp_path, stage):
    command = [sys.executable, "-m", "deepseek_learn", "author", "assignment"]
    command += [str(tmp_path), "--stage", stage]
    subprocess.run(command, check=True, env=os.environ, capture_output=True)
    graded = [p for p in problems.load() if (p.stage, p.kind) == (stage, "graded")]
    assert len(graded) == 1
    (path,) = tmp_path.glob(f"source/{stage}_*_{graded[0].lesson}/*.ipynb")
    cells = {cell.id: cell.source for cell in nbformat.read(path, 4).cells}
    kept_back = (REPOSITORY / "exercises" / "graded" / f"{graded[0].id}.py").read_text()
    assert kept_back.strip() in cells[f"{graded[0].id}-answer"]
    package = Path(problems.__file__).parent
    assert not any(kept_back in file.read_text() for file in package.rglob("*.py"))
    page = (REPOSITORY / "book" / "for_teachers.md").read_text()
    assert f"`{graded[0].id}`" in page


def test_another_seed_makes_other_hidden_tests(tmp_path):
    (one,) = classroom.assignment(tmp_path / "1", lesson=LESSON, seed=1)
    (two,) = classroom.assignment(tmp_path / "2", lesson=LESSON, seed=2)
    assert one.read_text() != two.read_text()


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_an_assignment_per_lesson(tmp_path, stage):
    """With an answer and a test for each of its problems."""
    paths = classroom.assignment(tmp_path, stage=stage)
    chosen = [each for each in lessons() if each.stage == stage and each.problems]
    assert [path.name for path in paths] == [Path(each.file).name for each in chosen]
    for path, each in zip(paths, chosen, strict=True):
        ids = {cell.id for cell in nbformat.read(path, 4).cells}
        for id in each.problems:
            assert {f"{id}-answer", f"{id}-tests"} <= ids


def test_unknown_lesson_is_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(DeepSeekLearnError, match="no lesson 'nowhere'"):
        classroom.assignment(tmp_path / "class", lesson="nowhere")
    with pytest.raises(DeepSeekLearnError, match="stage must be one of basic"):
        classroom.assignment(tmp_path / "class", stage="nowhere")
    assert not (tmp_path / "class").exists()
