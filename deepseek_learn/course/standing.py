"""Where a learner stands in each lesson, and what comes next."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from . import problems
from .lessons import STAGES, Lesson, lessons
from .problem import Problem


@dataclass(frozen=True)
class ExerciseResult:
    """The best outcome of an exercise.

    Attributes:
        problem: the exercise.
        status: "passed", "failed", "raised" or "not attempted". Only checks of the
            exercise's current version count.
        time: when this outcome was recorded (ISO 8601), or "".
    """

    problem: Problem
    status: str
    time: str

    @property
    def passed(self) -> bool:
        return self.status == "passed"

    @property
    def points(self) -> int:
        return self.problem.points if self.passed else 0


@dataclass(frozen=True)
class Standing:
    """The results of a lesson's exercises.

    Attributes:
        lesson: the lesson.
        results: one result per exercise, in order.
    """

    lesson: Lesson
    results: tuple[ExerciseResult, ...]

    @property
    def passed(self) -> int:
        return sum(result.passed for result in self.results)

    @property
    def open(self) -> tuple[Problem, ...]:
        """The exercises that have not been passed yet."""
        return tuple(each.problem for each in self.results if not each.passed)

    @property
    def complete(self) -> bool:
        return not self.open

    @property
    def last(self) -> str:
        """The time of the latest recorded outcome, or "" if nothing was attempted."""
        return max((result.time for result in self.results), default="")

    @property
    def minutes_left(self) -> int:
        """The stated minutes that remain; a lesson with an attempt counts as read."""
        reading = 0 if self.last or self.complete else self.lesson.minutes
        return reading + sum(problem.minutes for problem in self.open)


def standings(records: Iterable[dict]) -> tuple[Standing, ...]:
    """Return the standing in each lesson, in teaching order.

    Args:
        records: the learner's records, oldest first (`record.read`).
    """
    by_problem: dict[tuple, list[dict]] = {}
    for record in records:
        key = record["problem"], record["version"]
        by_problem.setdefault(key, []).append(record)
    return tuple(
        Standing(each, tuple(_best(p, by_problem) for p in problems.load(each.slug)))
        for each in lessons()
    )


def next_standing(every: Sequence[Standing]) -> Standing | None:
    """Return the lesson to go on with, or None if every exercise has been passed.

    This is the first lesson with an open exercise, starting at the lesson that was
    worked on last. After the end, the search continues with the lessons that were
    skipped.
    """
    latest = max(range(len(every)), key=lambda i: every[i].last)
    order = [*every[latest:], *every[:latest]]
    return next((each for each in order if not each.complete), None)


def by_stage(every: Iterable[Standing]) -> list[tuple[str, list[Standing]]]:
    """Return the stages in order, each with the standings in its lessons."""
    groups: dict[str, list[Standing]] = {stage: [] for stage in STAGES}
    for each in every:
        groups[each.lesson.stage].append(each)
    return [(stage, part) for stage, part in groups.items() if part]


def counts(part: Iterable[Standing]) -> tuple[int, int]:
    """Return how many exercises of these lessons were passed, and how many exist."""
    results = [result for each in part for result in each.results]
    return sum(result.passed for result in results), len(results)


def _best(problem: Problem, by_problem: dict[tuple, list[dict]]) -> ExerciseResult:
    attempts = by_problem.get((problem.id, problem.version), [])
    passes = [record for record in attempts if record["status"] == "passed"]
    best = (passes[:1] or attempts[-1:] or [{}])[0]
    return ExerciseResult(
        problem, best.get("status", "not attempted"), best.get("time", "")
    )
