"""A class is graded: right and wrong answers, and those that crash, loop or attack."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner

from deepseek_learn.cli.commands import app
from deepseek_learn.course import problems
from deepseek_learn.course.authoring import exercises, grading, submissions, workers
from deepseek_learn.course.authoring.grading_report import Grade, harmless, page, table
from deepseek_learn.course.lessons import lesson
from deepseek_learn.errors import DeepSeekLearnError
from deepseek_learn.sandbox import isolation, temporary_folder

ID, ANSWER = "multiply_in_integers", "linear_int8"  # a function of arrays
closed = pytest.mark.skipif(
    isolation() != "namespaces", reason="this system permits no namespaces"
)
ATTACKS = {
    "crashes": "import os\nos._exit(0)",
    "exits": "import sys\nsys.exit(0)",
    "loops": "while True: pass",
    "patches": "from deepseek_learn import course\n"
    "from deepseek_learn.course import expect, checking, problem\n"
    "expect.close = expect.shape = expect.call = lambda *a, **k: None\n"
    "course.check = checking.check = lambda *a, **k: 'passed'\n"
    f"def {ANSWER}(*a): return 'passed'",
    "prints": f"print('passed')\ndef {ANSWER}(*a): print('passed')",
    "steals": "import pathlib, deepseek_learn\n"
    "root = pathlib.Path(deepseek_learn.__file__).parents[1]\n"
    "found = [*root.glob('exercises'), *pathlib.Path('/tmp').glob('*/*/submitted')]\n"
    "found += (root / 'deepseek_learn/course/problems').glob('*_*')\n"
    f"def {ANSWER}(*a): raise ValueError(str(len(found)))",
    "shouts": f"def {ANSWER}(*a): raise ValueError('<script>\\x1b[2J=1+1')",
}


def solution(id):
    return problems.get(id).reference()


def hand_in(folder, student, answers):
    """Write an exercise notebook with these answers in its cells."""
    slug = problems.get(next(iter(answers))).lesson
    notebook = exercises.notebook(lesson(slug), "en")
    for cell in notebook.cells:
        if cell.id.removesuffix("-answer") in answers:
            cell.source = answers[cell.id.removesuffix("-answer")]
    path = folder / student / "notebooks" / "exercises.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook))


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class with two honest students and every attack, graded once."""
    root = tmp_path_factory.mktemp("class")
    hand_in(root / "submitted", "ann", {ID: solution(ID)})
    hand_in(root / "submitted", "bob", {ID: problems.get(ID).wrong["no zero point"]})
    for name, source in ATTACKS.items():
        hand_in(root / "submitted", name, {ID: source})
    (root / "submitted" / "zoe").mkdir()
    (root / "submitted" / "zoe" / f"{ID}.py").write_text(solution(ID))
    (root / "submitted" / "zoe" / "broken.ipynb").write_text("{")
    os.symlink("/etc/passwd", root / "submitted" / "zoe" / "link.ipynb")
    (root / "submitted" / "max").mkdir()
    cell = {"cell_type": "code", "source": "x", "metadata": None}
    (root / "submitted" / "max" / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading.problems, "load", lambda slug: [problems.get(ID)])
        grades = grading.grade(
            root / "submitted",
            root / "report",
            "deploy",
            seed=1,
            seconds=5,
            say=lambda sentence: None,
        )
    return root, {grade.student: grade for grade in grades}


@closed
def test_right_answers_get_points_and_wrong_ones_the_reason(graded):
    _, grades = graded
    points = problems.get(ID).points
    assert (grades["ann"].status, grades["ann"].points) == ("passed", points)
    assert (grades["zoe"].status, grades["zoe"].points) == ("passed", points)
    assert (grades["bob"].status, grades["bob"].points) == ("failed", 0)
    assert "zero point is missing" in grades["bob"].why
    assert all(grade.outside for grade in grades.values())


@closed
@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_costs_its_student_only(graded, attack):
    _, grades = graded
    assert grades[attack].status in ("failed", "raised")
    assert grades[attack].points == 0


@closed
def test_an_answer_finds_neither_solutions_nor_other_students(graded):
    _, grades = graded
    assert grades["steals"].why == "ValueError: 0"


@closed
def test_a_loop_is_ended(graded):
    assert "was ended after 5 s" in graded[1]["loops"].why


@closed
def test_the_report_says_who_and_where_the_class_fails(graded):
    root, grades = graded
    content = (root / "report" / "index.html").read_text()
    assert all(student in content for student in grades)
    assert "broken.ipynb: JSONDecodeError" in content
    assert "link.ipynb: OSError" in content
    assert "max: a.ipynb: ValueError: metadata is a NoneType" in content
    assert "root:x:" not in content
    assert "<script>" not in content
    assert "\x1b" not in content
    with (root / "report" / "grades.csv").open() as file:
        rows = {row["student"]: row for row in csv.DictReader(file)}
    assert rows["ann"]["points"] == str(problems.get(ID).points)
    assert set(rows) == set(grades)


@closed
def test_an_answer_that_gets_a_network_is_checked_inside_and_marked(tmp_path):
    """The check hands over a network, which cannot enter the sandbox."""
    id = "mend_the_broadcast"
    assert not grading.checks_outside(id)
    file = tmp_path / "ann" / f"{id}.py"
    file.parent.mkdir()
    wrong = next(iter(problems.get(id).wrong.values()))
    for source, statuses in ((solution(id), ["passed"]), (wrong, ["failed", "raised"])):
        file.write_text(source)
        student = submissions.read(tmp_path)[0]
        grade = grading.grade_answer(student, id, grading.Rules(1))
        assert grade.status in statuses
        assert not grade.outside


READS = """
import pathlib
from deepseek_learn.course import problems
root = problems.FOLDER
files = [path for path in root.glob("*/*/*") if path.stat().st_size]
raise SystemExit(" ".join(sorted(path.name for path in files)))
"""


@closed
def test_an_answer_beside_its_check_reads_no_answers_and_no_other_exercises(tmp_path):
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "mend_the_broadcast.py").write_text(READS)
    student = submissions.read(tmp_path)[0]
    grade = grading.grade_answer(student, "mend_the_broadcast", grading.Rules(1))
    names = set(grade.why.removeprefix("SystemExit: ").split()) - {"__pycache__"}
    assert names == {"check.py", "words.en.md", "words.zh.md"}


def test_nobody_is_graded_without_isolation(tmp_path, monkeypatch):
    monkeypatch.setattr(grading, "isolation", lambda: "sockets refused")
    with pytest.raises(DeepSeekLearnError, match="cannot be locked in"):
        grading.grade(tmp_path, tmp_path)


def test_a_folder_without_students_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match="one folder per student"):
        submissions.read(tmp_path)
    result = CliRunner().invoke(
        app, ["author", "grade", str(tmp_path), "--out", str(tmp_path)]
    )
    assert isinstance(result.exception, NotADirectoryError)


def test_a_starter_is_not_attempted(tmp_path):
    hand_in(tmp_path, "ann", {ID: f"# soon\n{problems.get(ID).starter}"})
    student = submissions.read(tmp_path)[0]
    grade = grading.grade_answer(student, ID, grading.Rules(1))
    assert (grade.status, grade.points) == ("not attempted", 0)
    assert grading.grade_answer(student, "shift_sum", grading.Rules(1)).status == (
        "missing"
    )


def test_own_cells_come_along_but_no_checks_and_no_other_answers(tmp_path):
    hand_in(tmp_path, "ann", {ID: "answer = 1"})
    path = tmp_path / "ann" / "notebooks" / "exercises.ipynb"
    notebook = json.loads(path.read_text())
    own = {"cell_type": "code", "id": "mine", "source": ["%time\n", "HELP = 1"]}
    notebook["cells"].insert(2, own)
    path.write_text(json.dumps(notebook))
    cells = submissions.read(tmp_path)[0].answer(problems.get(ID))
    assert [cell.strip() for cell in cells] == ["HELP = 1", "answer = 1"]


def test_an_answer_without_ids_is_known_by_its_name(tmp_path):
    (tmp_path / "ann").mkdir()
    cell = {
        "cell_type": "code",
        "source": f"def {ANSWER}(*a): return 0",
        "metadata": {},
    }
    content = {"cells": [cell], "nbformat": 4, "nbformat_minor": 4, "metadata": {}}
    (tmp_path / "ann" / "a.ipynb").write_text(json.dumps(content))
    assert submissions.read(tmp_path)[0].answer(problems.get(ID)) == [cell["source"]]


def test_cells_of_a_table_are_no_formulas():
    grade = Grade("=1+1", "l", "p", "t", "failed", 0, 1, 0.0, True, "@x\x1b")
    assert harmless("=1+1") == "'=1+1"
    assert "\n'=1+1,l,p,t,failed,0,1,0.0,True,'@x\\x1b\n" in table([grade])
    assert "=1+1" in page([grade], [], 1, 0.1)


MALFORMED = [
    ({"metadata": None}, "metadata is a NoneType, not a dict"),
    ({"metadata": [1]}, "metadata is a list, not a dict"),
    ({"metadata": {"nbgrader": None}}, "nbgrader is a NoneType, not a dict"),
    ({"source": None}, "source is a NoneType, not a list"),
    ({"source": [1]}, "TypeError"),
    ({"id": {"a": 1}}, "id is a dict, not a str"),
    (None, "a cell is a NoneType, not a dict"),
]


@pytest.mark.parametrize(("change", "reason"), MALFORMED)
def test_a_malformed_notebook_costs_its_student_only(tmp_path, change, reason):
    hand_in(tmp_path, "ann", {ID: solution(ID)})
    cell = change and {"cell_type": "code", "source": "x", "metadata": {}} | change
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob" / "a.ipynb").write_text(json.dumps({"cells": [cell]}))
    ann, bob = submissions.read(tmp_path)
    assert ann.answer(problems.get(ID))
    assert not ann.unreadable
    assert (bob.student, bob.notebooks) == ("bob", ())
    assert reason in bob.unreadable[0]


def test_a_folder_that_cannot_be_read_costs_its_student_only(tmp_path, monkeypatch):
    def files(folder):
        if folder.name == "bob":
            raise RuntimeError("nobody expected this")
        return [folder / f"{ID}.py"]

    for name in ("ann", "bob"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{ID}.py").write_text("answer = 1")
    monkeypatch.setattr(submissions, "_files", files)
    ann, bob = submissions.read(tmp_path)
    assert ann.has(problems.get(ID))
    assert bob.unreadable == ("RuntimeError: nobody expected this",)


def test_folders_are_searched_to_a_depth():
    """Python cannot recurse as deep as these folders are."""
    with temporary_folder("class-") as folder:
        path = folder / "ann"
        path.mkdir()
        for _ in range(1500):
            path = path / "d"
            os.mkdir(path)
        (path / f"{ID}.py").write_text("answer = 1")
        (folder / "ann" / "d" / f"{ID}.py").write_text("answer = 2")
        ann = submissions.read(folder)[0]
    assert ann.answer(problems.get(ID)) == ["answer = 2"]
    assert not ann.unreadable


def test_code_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "CODE", 10_000)
    monkeypatch.setattr(submissions, "BYTES", 30_000)
    (tmp_path / "ann").mkdir()
    sizes = {"a": 5000, "b": 9000, "c": 3000, "d": 20_000}
    for name, size in sizes.items():
        (tmp_path / "ann" / f"{name}.py").write_text("#" * size)
    ann = submissions.read(tmp_path)[0]
    assert [cells[0].id for cells in ann.notebooks] == ["a-answer", "c-answer"]
    assert "b.py: ValueError: a student has at most 10000" in ann.unreadable[0]
    assert "d.py: ValueError: a file has at most" in ann.unreadable[1]


def test_files_are_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "FILES", 3)
    (tmp_path / "ann").mkdir()
    for name in "abcd":
        (tmp_path / "ann" / f"{name}.py").write_text("answer = 1")
    ann = submissions.read(tmp_path)[0]
    assert [cells[0].id for cells in ann.notebooks] == [
        "a-answer",
        "b-answer",
        "c-answer",
    ]


def test_lines_of_jupyter_are_removed_in_one_pass():
    """A million empty lines took hours with a regular expression."""
    assert submissions.without_magic("a\n %time\n\n!ls\nb") == "a\n\n\n\nb"
    blank = "\n" * 1_000_000
    assert submissions.without_magic(blank) == blank


def test_only_short_code_is_compared_with_the_starter():
    problem = problems.get(ID)
    short, long = "# soon\n" * 10, "# soon\n" * 100_000
    assert submissions.is_starter(short + problem.starter, problem)
    assert not submissions.is_starter(long + problem.starter, problem)


@closed
def test_no_module_of_a_student_is_imported(tmp_path):
    """The grader starts where the students' folders are."""
    harmful = "open({path!r}, 'a').write(__name__)\nraise SystemExit"
    for name in ("socket", "sitecustomize", "deepseek_learn", "numpy", "pickle"):
        module = tmp_path / "submitted" / name / "__init__.py"
        module.parent.mkdir(parents=True)
        module.write_text(harmful.format(path=str(tmp_path / "attacked")))
    right = tmp_path / "submitted" / "ann" / f"{ID}.py"
    right.parent.mkdir()
    right.write_text(solution(ID))
    command = tmp_path / "programs" / "deepseek-learn"
    command.parent.mkdir()
    command.write_text(
        "if __name__ == '__main__':\n    import deepseek_learn.cli\n"
        "    deepseek_learn.cli.main()"
    )
    root = str(Path(grading.__file__).parents[3])
    process = subprocess.run(
        [
            sys.executable,
            command,
            "author",
            "grade",
            ".",
            "--out",
            "../report",
            "--lesson",
            "deploy",
        ],
        cwd=tmp_path / "submitted",
        env=os.environ | {"PYTHONPATH": root},
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert not (tmp_path / "attacked").exists()
    assert (
        "ann,deploy,multiply_in_integers"
        in (tmp_path / "report" / "grades.csv").read_text()
    ), process.stdout


@closed
@pytest.mark.parametrize("inside", [".", "ann"])
def test_a_path_of_imports_among_the_submissions_is_refused(
    tmp_path, monkeypatch, inside
):
    (tmp_path / "ann").mkdir()
    assert workers.importable(tmp_path) == ""
    monkeypatch.chdir(tmp_path / inside)
    monkeypatch.syspath_prepend("")
    with pytest.raises(DeepSeekLearnError, match="another folder"):
        grading.grade(tmp_path, tmp_path / "out")


def test_a_worker_that_ends_costs_one_answer(monkeypatch, tmp_path):
    """The worker is told to end by the first request, and to reply by the second."""
    (tmp_path / "dying.py").write_text(DYING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(workers, "MODULE", "dying")
    student = submissions.Submission("ann", ())
    (grades,) = workers.share(
        lambda worker, item: [
            grading.grade_in(worker, item, id, grading.Rules(0))
            for id in (ID, "shift_sum")
        ],
        [student],
        jobs=1,
    )
    assert (grades[0].status, grades[0].points) == ("raised", 0)
    assert "exit code -9" in grades[0].why
    assert grades[1] == "a grade"


DYING = """
import os, pickle, signal, sys
language, student, id, rules = pickle.load(sys.stdin.buffer)
if id != "shift_sum":
    os.kill(os.getpid(), signal.SIGKILL)
sys.stdout.buffer.write(pickle.dumps("a grade"))
sys.stdout.flush()
"""


def test_a_worker_that_hangs_is_ended(monkeypatch, tmp_path):
    (tmp_path / "hanging.py").write_text("import time\ntime.sleep(600)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(workers, "MODULE", "hanging")
    with pytest.raises(workers.WorkerEnded, match="exit code -15"):
        list(workers.share(lambda worker, item: worker.ask((item,), 0.5), [1], 1))
