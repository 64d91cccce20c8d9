"""One exercise: the single source of its notebook, assignment and tests."""

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

    `key` names a sentence of the exercise itself, or of the catalog, such as
    `"expect.value"`.
    """

    def __init__(self, key: str, **values: Any):
        super().__init__(key)
        self.key, self.values = key, values
        if key in ("expect.element", "expect.value"):
            self.values |= told_apart(values["got"], values["want"])


def told_apart(got: float, want: float) -> dict[str, str]:
    """Format both numbers with six digits, or as many as it takes to tell them apart.

    Integers that are exact in float64 are written in full.
    """
    if all(abs(x) < 2**53 and x == int(x) for x in (got, want) if math.isfinite(x)):
        return {"got": f"{got:.0f}", "want": f"{want:.0f}"}
    enough = (d for d in range(6, 18) if f"{got:.{d}g}" != f"{want:.{d}g}")
    digits = next(enough, 6)
    return {"got": f"{got:.{digits}g}", "want": f"{want:.{digits}g}"}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """An exercise and everything that is derived from it.

    Args:
        id: the folder's slug, which never changes once learners have progress under it.
        version: incremented when the criterion for a correct answer changes.
        starter: the code that the learner starts from, with a `...` to be replaced.
        answer: the name of the object that the starter defines and the check examines.
        check: `check(answer, rng)` raises `Failed` for a wrong answer. It draws fresh
            inputs from `rng`, compares with a reference that never calls the learner's
            code, calls that code only through `expect.call`, and takes at most 20 s.
        solution: code that defines `answer` correctly. It is None for a graded problem,
            whose solution is not in the package: it is read from
            `exercises/graded/<id>.py` in a teacher's checkout.
        wrong: maps a mistake's description to the code of an answer that must fail.
        right: maps a description to the code of an alternative answer that must pass.
        sentences: maps a name to the message of a failed check.
        needs: the package extras that it requires, such as "vision".
        kind: "practice" or "graded".
        seconds: the check's time limit; more than a minute for a check that runs
            compilers or other programs, which slow down most on a busy machine.

    Raises:
        ValueError: if `kind` is unknown, if a practice problem has no solution, or if a
            graded one has a solution or alternative answers.
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
                f"problem {self.id!r} is graded: `right` would give its solution away."
            )
        if (self.kind == "graded") != (self.solution is None):
            raise ValueError(
                f"problem {self.id!r} is {self.kind}: a practice problem carries its "
                f"solution, a graded one keeps it in exercises/graded/{self.id}.py."
            )

    def reference(self, repository: Path = REPOSITORY) -> str | None:
        """Return the code of the reference solution.

        It is None for a graded problem if `repository` is not a teacher's checkout.
        """
        if self.solution is not None:
            return self.solution
        file = Path(repository) / "exercises" / "graded" / f"{self.id}.py"
        return file.read_text(encoding="utf-8") if file.exists() else None

    @cached_property
    def untouched(self) -> Any:
        """The object that the starter defines under the answer's name."""
        return define(self.starter, self.answer)


def define(source: str, name: str) -> Any:
    """Run `source` in its own namespace and return the object it calls `name`.

    The lines go into `linecache`, where tracebacks look for them, as in a kernel.
    """
    import linecache

    file = f"<{name} {hash(source):x}>"
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    namespace: dict[str, Any] = {"__name__": "__answer__"}
    exec(compile(source, file, "exec"), namespace)
    return namespace[name]
