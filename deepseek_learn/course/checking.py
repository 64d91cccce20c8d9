"""The function `check`, which learners call in a notebook to check an answer.

>>> from deepseek_learn import course                               # doctest: +SKIP
>>> course.check("shift_sum", shift_sum)                            # doctest: +SKIP
"""

import html
import inspect
import linecache
import os
import secrets
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import text
from ..errors import DeepSeekLearnError
from . import problems
from .clock import CHECK, answer_time
from .display import card, inline
from .expect import AnswerRaised, last_input
from .limits import MEMORY, SECONDS, GaveUp, run_limited
from .problem import Failed, Problem
from .source_code import is_untouched

MARKS = {"passed": "✓", "failed": "✗", "raised": "!", "not attempted": "…"}
COLORS = {
    "passed": "#2e9d5b",
    "failed": "#d9534f",
    "raised": "#d9534f",
    "not attempted": "#8a8a8a",
}


class CheckError(DeepSeekLearnError):
    """Raised when a check itself fails, which is a bug in the course."""


@dataclass(frozen=True)
class Outcome:
    """The result of a check.

    Attributes:
        status: "passed", "failed", "raised" (the answer raised an exception) or
            "not attempted".
        message: the message for the learner, such as an explanation of how the answer
            differs from the expected one.
        repeat: if the answer is wrong, the input on which it failed and the call that
            repeats the check; otherwise empty.
        seed: the seed of the random inputs; `check(problem, answer, seed=seed)` repeats
            this exact check.
        note: the reason why the outcome could not be recorded; otherwise empty.

    >>> from deepseek_learn import course
    >>> outcome = course.check("shift_sum", ..., record=False)
    >>> outcome.status
    'not attempted'
    """

    problem: str
    version: int
    status: str
    message: str
    seed: int
    points: int
    possible: int
    repeat: str = ""
    note: str = ""

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def heading(self) -> str:
        status = text(f"status.{self.status.replace(' ', '_')}")
        return f"{MARKS[self.status]} {self.problem}: {status}"

    def __repr__(self) -> str:
        lines = [self.heading, self.message, self.repeat, self.note]
        return "\n  ".join("\n".join(filter(None, lines)).splitlines())

    def _repr_html_(self) -> str:
        footnotes = [
            f"<br><small>{inline(t)}</small>" for t in (self.repeat, self.note) if t
        ]
        words = f"<b>{html.escape(self.heading)}</b><br>{inline(self.message)}"
        return card(COLORS[self.status], words + "".join(footnotes))


def check(
    id: str, answer: Any, seed: int | None = None, record: bool = True
) -> Outcome:
    """Check the learner's `answer` to the problem `id` on fresh random inputs.

    Args:
        id: one of `course.problems.names()`.
        answer: the object that the exercise asks for. If it is `...`, the status is
            "not attempted".
        seed: the seed of the random inputs. Pass the seed of an earlier check to repeat
            that check. By default, a new seed is drawn and recorded.
        record: whether to add the outcome to the learner's progress. Nothing is
            recorded during grading.

    Raises:
        UnknownNameError: if there is no such problem; the message lists all problems.
        CheckError: if the check itself fails.

    >>> from deepseek_learn import course
    >>> def shift_sum(taps):
    ...     return taps.sum(1, keepdim=True)  # without shifting
    >>> course.check("shift_sum", shift_sum, record=False).passed
    False
    """
    problem = problems.get(id)
    seed = secrets.randbelow(2**31) if seed is None else int(seed)
    last_input()  # discard the input of an earlier check
    status, message = _examine(problem, answer, seed)
    again = _how_to_repeat(problem, seed) if status in ("failed", "raised") else ""
    points = problem.points if status == "passed" else 0
    note = ""
    if record and "NBGRADER_EXECUTION" not in os.environ:
        from .record import remember

        note = remember(problem, status, seed, answer)
    result = (id, problem.version, status, message, seed, points, problem.points)
    return Outcome(*result, again, note)


def _examine(problem: Problem, answer: Any, seed: int) -> tuple[str, str]:
    if is_untouched(answer, problem.untouched):
        return "not attempted", text("outcome.not_attempted", name=problem.answer)
    seconds = problem.seconds or SECONDS
    _build_kernel(problem)

    def check() -> None:
        with answer_time(seconds):
            problem.check(answer, np.random.default_rng(seed))

    try:
        run_limited(check, CHECK, MEMORY)
    except BaseException as error:
        return _explain(error, problem, seconds, seed)
    return "passed", text("outcome.passed", points=problem.points)


def _explain(
    error: BaseException, problem: Problem, seconds: float, seed: int
) -> tuple[str, str]:
    """Return the status and message of a check that ended with an exception.

    Raises:
        CheckError: if none of the learner's code is to blame.
    """
    if isinstance(error, AnswerRaised):
        return "raised", _describe(error.__cause__ or error)
    own_file = inspect.getfile(problem.check)
    frames = traceback.extract_tb(error.__traceback__)
    learners = [_is_learners(f) and f.filename != own_file for f in frames]
    # whatever the learner's code raises is its own, even if it takes our exceptions
    if not learners[-1]:
        if isinstance(error, Failed):
            return "failed", problem.sentence(error)
        if isinstance(error, GaveUp):
            words = text("outcome.gave_up", seconds=f"{seconds:g}")
            return "failed", "\n".join(filter(None, [words, _last_line(error)]))
    # the answer may have returned an object whose methods raise something
    if isinstance(error, Exception) and not any(learners):
        raise CheckError(
            f"the check of {problem.id!r} itself failed with {type(error).__name__}: "
            f"{error}. That is a bug in the course, not in your answer; please report "
            f"it with seed={seed}."
        ) from error
    return "raised", _describe(error)


def _build_kernel(problem: Problem) -> None:
    """Build the C++ kernel before the clock starts, if the check computes with `dpg`."""
    if "dpg" in getattr(problem.check, "__globals__", {}):
        from ..dpg.kernels.build import KernelUnavailable, load

        with suppress(KernelUnavailable):  # then PyTorch computes the same
            load()


def _how_to_repeat(problem: Problem, seed: int) -> str:
    arguments = last_input()
    lines = [text("outcome.input", given=arguments)] if arguments else []
    again = text("outcome.again", problem=problem.id, answer=problem.answer, seed=seed)
    return "\n".join([*lines, again])


def _describe(error: BaseException) -> str:
    """Describe an exception and the last line of the learner's code that led to it."""
    try:
        message = str(error)
    except Exception:  # an exception class of the learner's may have any `__str__`
        message = "?"
    facts = {"kind": type(error).__name__, "error": message}
    if line := _last_line(error):
        return text("outcome.raised", **facts) + "\n" + line
    return text("outcome.raised_call", **facts)  # the call had the wrong arguments


def _last_line(error: BaseException | None) -> str:
    """Return the last line of the learner's code in the traceback, or ""."""
    stack = traceback.extract_tb(error.__traceback__ if error else None)
    frames = [frame for frame in stack if _is_learners(frame)]
    if (
        not frames
    ):  # an exception on the way out of the learner's code may have come last
        return _last_line(error.__context__) if isinstance(error, GaveUp) else ""
    line, file = frames[-1].lineno, frames[-1].filename
    code = linecache.getline(file, line or 0).strip()
    return text("outcome.line", line=line, code=code)


def _is_learners(frame: traceback.FrameSummary) -> bool:
    package = str(Path(__file__).resolve().parents[1])
    installed = ("site-packages", "dist-packages", os.path.dirname(os.__file__))
    return not any(part in frame.filename for part in (package, *installed))
