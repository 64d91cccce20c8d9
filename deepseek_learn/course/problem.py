"""The definition of an exercise, from which its notebook and tests are generated."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..catalog import choose, text
from ..files import REPOSITORY

Text = dict[str, str]  # {"en": ..., "zh": ...}


class Failed(Exception):
    """Raised by a check when the learner's answer is wrong.

    Args:
        key: the key of the message, either in the exercise's own `sentences` or in the
            catalog, such as `"expect.value"`.
        values: the values to fill into the message.
    """

    def __init__(self, key: str, **values: Any):
        super().__init__(key)
        self.key, self.values = key, values
        if key in ("expect.element", "expect.value"):
            self.values |= told_apart(values["got"], values["want"])


def told_apart(got: float, want: float) -> dict[str, str]:
    """Format two numbers with six digits, or with more if they would look the same.

    If both are integers that float64 represents exactly, they are written in full.
    """
    if all(abs(x) < 2**53 and x == int(x) for x in (got, want) if math.isfinite(x)):
        return {"got": f"{got:.0f}", "want": f"{want:.0f}"}
    enough = (d for d in range(6, 18) if f"{got:.{d}g}" != f"{want:.{d}g}")
    digits = next(enough, 6)
    return {"got": f"{got:.{digits}g}", "want": f"{want:.{digits}g}"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An exercise with its texts, its check and its reference answers.

    Args:
        id: the name of the exercise's folder. It must never change, because learners'
            progress is stored under it.
        version: a number that is incremented when the criterion for a correct answer
            changes.
        starter: the code that the learner starts from, with a `...` to be replaced.
        answer: the name of the object that the starter defines and the check examines.
        check: a function `check(answer, rng)` that raises `Failed` if the answer is
            wrong. It draws fresh inputs from `rng` and compares the answer with a
            reference that does not depend on the learner's code. It calls the learner's
            code only through `expect.call`, and takes at most 20 s.
        solution: code that defines a correct `answer`. It is None for a graded problem,
            whose solution is not in the package but in `exercises/graded/<id>.py` in a
            teacher's checkout.
        wrong: a mapping from the description of a mistake to the code of an answer that
            the check must reject.
        right: a mapping from a description to the code of an alternative answer that
            the check must accept.
        sentences: a mapping from the name of a failure to the message for the learner.
        needs: the package extras that the problem requires, such as "vision".
        kind: "practice" or "graded".
        seconds: the time limit for the check, one minute by default. Checks that run
            compilers or other programs need more time, because such programs slow down
            the most on a busy machine.

    Raises:
        ValueError: if `kind` is unknown, if a practice problem has no solution, or if a
            graded problem has a solution or alternative answers.
    """

    id: str
    version: int
    lesson: str
    stage: str
    title: Text
    prompt: Text
    starter: str
    answer: str
    hints: tuple[Text, ...]
    check: Callable[[Any, np.random.Generator], None]
    wrong: dict[str, str]
    points: int
    minutes: int
    right: dict[str, str] = field(default_factory=dict)
    sentences: dict[str, Text] = field(default_factory=dict)
    solution: str | None = None
    needs: tuple[str, ...] = ()
    kind: str = "practice"
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("practice", "graded"):
            raise ValueError(f'kind must be "practice" or "graded"; got {self.kind!r}.')
        if self.kind == "graded" and self.right:
            raise ValueError(
                f"graded problem {self.id!r} must not define `right`, because that "
                f"would give its solution away."
            )
        if (self.kind == "graded") != (self.solution is None):
            raise ValueError(
                f"problem {self.id!r} is {self.kind}; a practice problem must define "
                f"its solution, and the solution of a graded problem must be stored "
                f"in exercises/graded/{self.id}.py."
            )

    def reference(self, repository: Path = REPOSITORY) -> str | None:
        """Return the code of the reference solution, or None if it is not available.

        The solution of a graded problem is only available in a teacher's checkout.

        Args:
            repository: the checkout to search.
        """
        if self.solution is not None:
            return self.solution
        file = Path(repository) / "exercises" / "graded" / f"{self.id}.py"
        return file.read_text(encoding="utf-8") if file.exists() else None

    def sentence(self, failed: Failed) -> str:
        """Return the message for the learner about a failed check."""
        if failed.key in self.sentences:
            return choose(self.sentences[failed.key]).format(**failed.values)
        return text(failed.key, **failed.values)

    @cached_property
    def untouched(self) -> Any:
        """The object that the unmodified starter code defines as the answer."""
        return define(self.starter, self.answer)


def define(source: str, name: str) -> Any:
    """Execute `source` in a new namespace and return the object called `name`.

    The source is added to `linecache`, as a Jupyter kernel does, so that tracebacks can
    show its lines.
    """
    import linecache

    file = f"<{name} {hash(source):x}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    namespace: dict[str, Any] = {"__name__": "__answer__"}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]
