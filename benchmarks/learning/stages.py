"""The three stages: the guide's tasks, the exercises behind them, and their hours."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from deepseek_learn.course import check, problems
from deepseek_learn.course.lessons import Lesson, lesson
from deepseek_learn.course.problem import Problem, define

ROOT = Path(__file__).resolve().parents[2]
# the guide's tasks (its part five) → the lesson in which a learner does each
TASKS = {
    "basic": {
        "the algorithm of DPG": "dynamic_parameter_groups",
        "run pretrained models of the zoo": "tour",
        "rebuild SC-attention and measure it": "spatial_channel_attention",
    },
    "practical": {
        "transfer learning in medicine or industry": "defects_supervised",
        "tune at least three hyperparameters": "auto_tuner",
        "deploy the optimized model": "deploy",
    },
    "innovation": {
        "improve the grouping strategy": "grouping_strategies",
        "fuse SC-attention with other attention": "hybrid_attention",
        "submit an improvement": "beat_deepopt",
    },
}
SUBMISSION, BOARD = "beat_deepopt", "leaderboard"


@dataclass(frozen=True)
class Audit:
    """What an exercise's check says of its solution, its starter and wrong answers.

    Attributes:
        solution: the outcome of the published solution, on a fresh seed.
        others: how many of the starter and the known wrong answers were passed.
    """

    solution: str
    others: int

    @property
    def holds(self) -> bool:
        return self.solution == "passed" and not self.others


def audit(problem: Problem) -> Audit:
    """Check the solution, the starter and all known wrong answers, on fresh seeds."""
    source = problem.reference()
    assert source is not None, f"{problem.id} has no solution here"
    wrong = [problem.starter, *problem.wrong.values()]
    passes = sum(outcome(problem, each) == "passed" for each in wrong)
    return Audit(outcome(problem, source), passes)


def outcome(problem: Problem, source: str) -> str:
    answer = define(source, problem.answer)
    seed = secrets.randbelow(2**31)
    return check(problem.id, answer, seed=seed, record=False).status


def is_taught(name: str) -> bool:
    """Whether a lesson was executed without an error and has exercises.

    The lesson for the guide's task "submit" must also lead to the leaderboard.
    """
    notebook = json.loads((ROOT / "notebooks" / lesson(name).file).read_text("utf-8"))
    cells = notebook["cells"]
    code = [c for c in cells if c["cell_type"] == "code"]
    outputs = [o for c in code if not _shows_an_error(c) for o in c["outputs"]]
    errors = [each for each in outputs if each["output_type"] == "error"]
    leads = name != SUBMISSION or any(BOARD in "".join(c["source"]) for c in cells)
    return bool(outputs) and not errors and bool(lesson(name).problems) and leads


def _shows_an_error(cell: dict) -> bool:
    """Whether an error is what the cell is to show."""
    return "raises-exception" in cell["metadata"].get("tags", [])


def hours(part: Sequence[Lesson]) -> float:
    """The stated time for lessons and their exercises."""
    solving = sum(p.minutes for each in part for p in problems.load(each.slug))
    return (sum(each.minutes for each in part) + solving) / 60
