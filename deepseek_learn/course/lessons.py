"""The lessons of the course, which are listed in `lessons.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..errors import UnknownNameError

STAGES = ("basic", "practical", "innovation")


@dataclass(frozen=True)
class Lesson:
    """A lesson of the course.

    Attributes:
        stage: one of `STAGES`.
        number: two digits that give its place within the stage; a letter follows them
            where a lesson was added between two others, as in "04b".
        slug: the identifier of the lesson, such as "tour".
        title: the title, as `{"en": ..., "zh": ...}`.
        outcome: what a learner can do or decide afterwards, in both languages.
        needs: the slugs of the lessons that this one builds on.
        minutes: the time to work through the lesson, without its exercises.
        problems: the ids of the exercises, in order.
    """

    stage: str
    number: str
    slug: str
    title: dict[str, str]
    outcome: dict[str, str]
    needs: tuple[str, ...]
    minutes: int
    problems: tuple[str, ...]

    @property
    def file(self) -> str:
        """The path in `notebooks/` or `exercises/`, such as `basic/00_tour.ipynb`."""
        return f"{self.stage}/{self.number}_{self.slug}.ipynb"

    @property
    def assignment(self) -> str:
        """The name of the lesson's nbgrader assignment, such as `basic_00_tour`."""
        return f"{self.stage}_{self.number}_{self.slug}"


@cache
def lessons() -> tuple[Lesson, ...]:
    """Return all lessons in teaching order."""
    rows = tomllib.loads(
        (files(__package__) / "lessons.toml").read_text(encoding="utf-8")
    )["lesson"]
    lists = ("needs", "problems")
    return tuple(Lesson(**row | {k: tuple(row[k]) for k in lists}) for row in rows)


def lesson(slug: str) -> Lesson:
    """Return the lesson with the given slug.

    Raises:
        UnknownNameError: if there is no such lesson; the message lists all lessons.
    """
    by_slug = {each.slug: each for each in lessons()}
    if slug not in by_slug:
        raise UnknownNameError("lesson", slug, by_slug)
    return by_slug[slug]


def lesson_after(current: Lesson) -> Lesson | None:
    """Return the next lesson in teaching order, or None after the last one."""
    position = lessons().index(current) + 1
    return lessons()[position] if position < len(lessons()) else None
