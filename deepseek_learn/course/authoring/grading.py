"""Grade a folder of submissions, each answer in a sandbox of its own.

An answer that crashes, loops or attacks costs its student this answer, and nobody else
anything. The same holds for a file that is malformed, and for a check that an answer
brings to its end. Where the answer is a function of plain data, the check stays outside the
sandbox and the answer cannot reach it. Other answers (modules, optimizers, functions
that get functions) are checked inside the same sandbox: they can harm nothing, but can
forge their own outcome, so the report marks them.
"""

import json
import secrets
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from ...catalog import choose, text
from ...errors import DeepSeekLearnError
from ...sandbox import call, isolation
from .. import problems
from ..isolated import check_outside, hidden_beside_check, problem_folder, room
from ..lessons import lesson as find_lesson
from ..lessons import lessons
from ..problem import Problem
from . import grading_report, submissions
from .grading_report import Grade
from .submissions import Submission
from .workers import Worker, WorkerEnded, importable, share

SECONDS, START = 60, 20  # of a check; for the imports before it
STATUSES = ("passed", "failed", "raised", "not attempted")


@dataclass(frozen=True)
class Rules:
    """What a grading run has in common.

    Attributes:
        seed: from which the inputs of each problem follow; the same for all students.
        seconds: the time for an answer, instead of the problem's own.
    """

    seed: int
    seconds: float | None = None

    def seed_of(self, problem: Problem) -> int:
        return zlib.crc32(f"{problem.id}:{self.seed}".encode()) % 2**31

    def seconds_of(self, problem: Problem) -> float:
        return self.seconds or START + (problem.seconds or SECONDS)


def grade(
    folder: str | Path,
    out: str | Path,
    lesson: str | None = None,
    seed: int | None = None,
    jobs: int = 1,
    trust: bool = False,
    seconds: float | None = None,
    say: Callable[[str], None] = print,
) -> list[Grade]:
    """Grade all submissions in a folder, and write a page and two tables.

    Args:
        folder: holds one folder per student, see `submissions`.
        out: the folder of the report: `index.html`, `grades.csv` (one line per answer)
            and `scores.csv` (one line per student and assignment, as nbgrader exports).
        lesson: the slug of a lesson; by default, all problems that anyone answered.
        seed: of the inputs, to repeat a grading run; by default a new one, which the
            report names.
        jobs: how many answers are graded at a time.
        trust: grade even where code cannot be isolated.
        seconds: the time for an answer, instead of the problem's own.
        say: called with a sentence for each student.

    Raises:
        NotADirectoryError: if `folder` has no folders.
        UnknownNameError: if there is no such lesson.
        DeepSeekLearnError: if code cannot be isolated here and `trust` is not set, or if
            Python would import modules from `folder`.
    """
    if isolation() != "namespaces" and not trust:
        raise DeepSeekLearnError(text("grading.no_isolation"))
    if entry := importable(Path(folder)):
        raise DeepSeekLearnError(text("grading.importable", folder=entry))
    students = submissions.read(folder)
    chosen = chosen_problems(students, lesson)
    rules = Rules(secrets.randbelow(2**31) if seed is None else seed, seconds)
    start, grades = time.monotonic(), list[Grade]()
    work = partial(grade_student, ids=[p.id for p in chosen], rules=rules)
    for student, rows in zip(students, share(work, students, jobs), strict=True):
        grades += rows
        points = sum(row.points for row in rows)
        say(f"{grading_report.visible(student.student)}: {points}")
    minutes = (time.monotonic() - start) / 60
    grading_report.write(out, grades, students, rules.seed, minutes)
    return grades


def chosen_problems(
    students: Sequence[Submission], lesson: str | None
) -> list[Problem]:
    """Return the problems of a lesson, or of all lessons that anyone handed in."""
    slugs = [find_lesson(lesson).slug] if lesson else [each.slug for each in lessons()]
    chosen = []
    for slug in slugs:
        loaded = problems.load(slug)
        answered = any(s.has(p) for s in students for p in loaded)
        chosen += loaded if answered or lesson else []
    return chosen


def grade_student(
    worker: Worker, student: Submission, ids: Sequence[str], rules: Rules
) -> list[Grade]:
    """Let a worker grade all answers of a student."""
    return [grade_in(worker, student, id, rules) for id in ids]


def grade_in(worker: Worker, student: Submission, id: str, rules: Rules) -> Grade:
    """Let a worker grade one answer; if the worker ends, the grade says so."""
    problem, start = problems.get(id), time.monotonic()
    limit = 3 * max(rules.seconds_of(problem), Rules(0).seconds_of(problem)) + SECONDS
    try:
        return worker.ask((student, id, rules), limit)
    except WorkerEnded as error:
        return graded(student, problem, "raised", str(error), start, True)


def grade_answer(student: Submission, id: str, rules: Rules) -> Grade:
    """Grade one answer; whatever it does, there is a grade."""
    problem, start, outside = problems.get(id), time.monotonic(), True
    try:
        cells = student.answer(problem)
        if cells is None:
            status, why = "missing", ""
        elif submissions.is_starter(cells[-1], problem):
            status, why = "not attempted", ""
        else:
            outside = checks_outside(id)
            judge = check_outside if outside else check_inside
            seed, seconds = rules.seed_of(problem), rules.seconds_of(problem)
            status, why = judge(problem, cells, seed, seconds)
    except DeepSeekLearnError as error:  # it ended, or sent something else
        status, why = "raised", str(error)
    except Exception as error:  # a check may stumble over what an answer returns
        status, why = "raised", f"{type(error).__name__}: {error}"
    return graded(student, problem, status, why, start, outside)


def graded(
    student: Submission,
    problem: Problem,
    status: str,
    why: str,
    start: float,
    outside: bool,
) -> Grade:
    """Return the grade of an answer whose grading began at the time `start`."""
    return Grade(
        student=student.student,
        lesson=problem.lesson,
        problem=problem.id,
        title=choose(problem.title),
        status=status,
        points=problem.points if status == "passed" else 0,
        possible=problem.points,
        seconds=time.monotonic() - start,
        outside=outside,
        why=why,
    )


def check_inside(
    problem: Problem, cells: list[str], seed: int, seconds: float
) -> tuple[str, str]:
    """Check an answer in its own sandbox: return the status that it says, and why."""
    files = {"cells.json": json.dumps(cells).encode()}
    hide, shown = hidden_beside_check(problem.id), [problem_folder(problem.id)]
    answers = {"starter": problem.starter}
    if problem.kind == "practice":  # it must have a solution, which is hidden
        answers["solution"] = ""
    with room(files, seconds, hide, shown) as (sandbox, entry):
        arguments = problem.id, problem.answer, seed, answers
        outcome = call(entry, "check", *arguments, sandbox=sandbox)
    match outcome:
        case [str(status), str(message)] if status in STATUSES:
            return status, "" if status == "passed" else message
    return "raised", ""


@cache
def checks_outside(id: str) -> bool:
    """Return whether a problem can be checked from outside: its solution passes so."""
    problem = problems.get(id)
    reference = problem.reference()
    if reference is None:  # outside a teacher's checkout; these take plain data
        return True
    try:
        rules = Rules(0)
        seed, seconds = rules.seed_of(problem), rules.seconds_of(problem)
        return check_outside(problem, [reference], seed, seconds)[0] == "passed"
    except Exception:  # a check that hands over something else may fail anywhere
        return False
