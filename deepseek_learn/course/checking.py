"""`check`: what a learner calls in a notebook on an answer.

>>> from deepseek_learn import course                               # doctest: +SKIP
>>> course.check("shift_sum", shift_sum)                            # doctest: +SKIP
"""

import html
import linecache
import os
import secrets
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..catalogue import text
from ..errors import DeepSeekLearnError
from . import problems
from .display import card, inline
from .expect import AnswerRaised
from .problem import Failed, Problem
from .source_code import is_untouched

MARKS = {"passed": "✓", "failed": "✗", "raised": "!", "not attempted": "…"}
COLOURS = {
    "passed": "#2e9d5b",
    "failed": "#d9534f",
    "raised": "#d9534f",
    "not attempted": "#8a8a8a",
}


class CheckError(DeepSeekLearnError):
    """The check itself went wrong: a bug of the course, not of the learner's answer."""


@dataclass(frozen=True)
class Outcome:
    """What a check found.

    Attributes:
        status: "passed", "failed", "raised" (the answer's code raised) or
            "not attempted".
        message: the sentence that says what differed.
        seed: repeats this very check: `check(problem, answer, seed=seed)`.
        note: why the progress could not be recorded, or empty.
    """

    problem: str
    version: int
    status: str
    message: str
    seed: int
    points: int
    possible: int
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def heading(self) -> str:
        status = text(f"status.{self.status.replace(' ', '_')}")
        return f"{MARKS[self.status]} {self.problem}: {status}"

    def __repr__(self) -> str:
        lines = [self.heading, self.message, self.note]
        return "\n  ".join(line for line in lines if line)

    def _repr_html_(self) -> str:
        note = f"<br><small>{html.escape(self.note)}</small>" if self.note else ""
        return card(
            COLOURS[self.status],
            f"<b>{html.escape(self.heading)}</b><br>{inline(self.message)}{note}",
        )


def check(
    id: str, answer: Any, seed: int | None = None, record: bool = True
) -> Outcome:
    """Check the learner's `answer` to the problem `id` on fresh random inputs.

    Args:
        id: a name of `course.problems.names()`.
        answer: the object that the exercise asks for; `...` is "not attempted".
        seed: repeats an earlier check; by default a new one is drawn and kept.
        record: keep the outcome in the learner's progress (never when being graded).

    Raises:
        UnknownNameError: naming the problems there are.
        CheckError: when the check itself is broken.
    """
    problem = problems.get(id)
    seed = secrets.randbelow(2**31) if seed is None else int(seed)
    status, message = _examine(problem, answer, seed)
    points = problem.points if status == "passed" else 0
    note = ""
    if record and "NBGRADER_EXECUTION" not in os.environ:
        from .record import remember

        note = remember(problem, status, seed, answer)
    found = (id, problem.version, status, message, seed, points, problem.points, note)
    return Outcome(*found)


def _examine(problem: Problem, answer: Any, seed: int) -> tuple[str, str]:
    if is_untouched(answer, problem.untouched):
        return "not attempted", text("outcome.not_attempted", name=problem.answer)
    try:
        problem.check(answer, np.random.default_rng(seed))
    except Failed as failed:
        return "failed", text(failed.key, **failed.values)
    except AnswerRaised as raised:
        return "raised", _where(raised.__cause__)
    except Exception as error:
        raise CheckError(
            f"the check of {problem.id!r} itself failed with {type(error).__name__}: "
            f"{error}. That is a bug of the course, not of your answer; please report "
            f"it with seed={seed}."
        ) from error
    return "passed", text("outcome.passed", points=problem.points)


def _where(error: BaseException) -> str:
    """The exception, and the last line of the learner's code on its way."""
    kind = type(error).__name__
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_learners(f)]
    if not frames:  # it failed in the call itself: wrong arguments
        return text("outcome.raised_call", kind=kind, error=str(error))
    line, file = frames[-1].lineno, frames[-1].filename
    code = linecache.getline(file, line).strip()
    return text("outcome.raised", kind=kind, error=str(error), line=line, code=code)


def _is_learners(frame: traceback.FrameSummary) -> bool:
    package = str(Path(__file__).resolve().parents[1])
    installed = ("site-packages", "dist-packages", os.path.dirname(os.__file__))
    return not any(part in frame.filename for part in (package, *installed))
