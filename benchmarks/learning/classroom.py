"""A class whose answers are known: right, wrong, untouched, crashing, looping."""

import random
from dataclasses import dataclass
from pathlib import Path

from deepseek_learn.course import problems
from deepseek_learn.course.authoring.grading import grade
from deepseek_learn.course.problem import Problem

# answers that harm: what they do → their code, before the answer's own name
ATTACKS = {
    "ends the process": "import os\nos._exit(0)",
    "loops": "while True: pass",
    "replaces the check": "from deepseek_learn import course\n"
    "from deepseek_learn.course import checking, expect\n"
    "course.check = checking.check = lambda *a, **k: 'passed'\n"
    "expect.close = expect.shape = expect.call = lambda *a, **k: None",
}
SECONDS = 40  # for an answer, so that a loop does not take minutes


@dataclass(frozen=True)
class Answer:
    """What a student hands in for an exercise, and whether it deserves its points."""

    source: str
    is_right: bool


def answer(problem: Problem, kind: str, rng: random.Random) -> Answer:
    """An answer of a kind: "right", "wrong", "untouched", or one of `ATTACKS`."""
    if kind == "right":
        return Answer(problem.reference() or "", True)
    if kind == "wrong":
        return Answer(rng.choice([*problem.wrong.values()]), False)
    if kind == "untouched":
        return Answer(problem.starter, False)
    return Answer(f"{ATTACKS[kind]}\n{problem.starter}", False)


def hand_in(folder: Path, students: int, ids: list[str], seed: int) -> dict:
    """Write the answers of a class; (student, problem) → whether it is right."""
    rng, truth = random.Random(seed), {}
    kinds = ["right"] * 6 + ["wrong"] * 3 + ["untouched"] + [*ATTACKS]
    for number in range(students):
        student = f"student-{number:02d}"
        (folder / student).mkdir(parents=True)
        for id in ids:
            handed = answer(problems.get(id), rng.choice(kinds), rng)
            (folder / student / f"{id}.py").write_text(handed.source)
            truth[student, id] = handed.is_right
    return truth


def graded_rightly(folder: Path, out: Path, truth: dict, seed: int) -> int:
    """Grade a class and count the answers whose points are what they deserve."""
    grades = grade(folder, out, seed=seed, seconds=SECONDS, say=lambda line: None)
    passes = {(row.student, row.problem): row.status == "passed" for row in grades}
    return sum(passes.get(key) == is_right for key, is_right in truth.items())
