"""One exercise: the one source of the notebook, the classroom and the tests."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..files import REPOSITORY

Text = dict[str, str]  # {"en": ..., "zh": ...}


class Failed(Exception):
    """The learner's answer is wrong.

    `key` names a sentence of the exercise's own words, or of the catalog, such as
    `"expect.value"`.
    """

    def __init__(self, key: str, **values: Any):
        super().__init__(key)
        self.key, self.values = key, values
        if key in ("expect.element", "expect.value"):
            self.values |= told_apart(values["got"], values["want"])


def told_apart(got: float, want: float) -> dict[str, str]:
    """Both numbers with six digits, or as many as it takes to see that they differ.

    Whole numbers that are exact in float64 are told in full.
    """
    if all(abs(x) < 2**53 and x == int(x) for x in (got, want) if math.isfinite(x)):
        return {"got": f"{got:.0f}", "want": f"{want:.0f}"}
    digits = (d for d in range(6, 18) if f"{got:.{d}g}" != f"{want:.{d}g}")
    digits = next(digits, 6)
    return {"got": f"{got:.{digits}g}", "want": f"{want:.{digits}g}"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An exercise and everything that is derived from it.

    Args:
        id: the file's slug, never changed once learners have progress under it.
        version: raised when what counts as right changes.
        starter: the code the learner begins with; its `...` is to be replaced.
        answer: the name that the starter defines and that is checked.
        check: `check(answer, rng)` raises `Failed` for a wrong answer. It draws fresh
            inputs from `rng`, compares with a reference that never calls the learner's
            code, calls that code only through `expect.call`, and takes at most 20 s.
        solution: code that defines `answer` rightly. A graded problem gives none here:
            its solution is read from `exercises/graded/<id>.py` of a teacher's
            checkout and is not in the package.
        wrong: what is wrong → code of an answer that must fail.
        right: what is special about it → code of another answer that must pass.
        sentences: name → what a failed check says.
        needs: extras of the package without which it cannot be done, such as "vision".
        kind: "practice" or "graded".
        seconds: after which the check gives up; more than a minute for one that runs
            compilers and other programs, which a busy machine slows down most.

    Raises:
        ValueError: for a practice problem without solution, or a graded one with a
            solution or right answers.
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

    def __post_init__(self):
        if self.kind not in ("practice", "graded"):
            raise ValueError(f'kind must be "practice" or "graded"; got {self.kind!r}.')
        if self.kind == "graded" and self.right:
            raise ValueError(
                f"problem {self.id!r} is graded: `right` would give its solution away."
            )
        if (self.kind == "graded") != (self.solution is None):
            raise ValueError(
                f"problem {self.id!r} is {self.kind}: a practice problem carries its "
                f"solution, a graded one keeps it in exercises/graded/{self.id}.py."
            )

    def reference(self, repository: Path = REPOSITORY) -> str | None:
        """The reference's code; None for a graded problem without a checkout."""
        if self.solution is not None:
            return self.solution
        kept = Path(repository) / "exercises" / "graded" / f"{self.id}.py"
        return kept.read_text(encoding="utf-8") if kept.exists() else None

    @cached_property
    def untouched(self) -> Any:
        """What the starter defines under the name of the answer."""
        return define(self.starter, self.answer)


def define(source: str, name: str) -> Any:
    """Run `source` by itself and give what it calls `name`.

    The lines are kept where tracebacks look for them, as a notebook's kernel does.
    """
    import linecache

    file = f"<{name} {hash(source):x}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    namespace: dict[str, Any] = {"__name__": "__answer__"}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]
