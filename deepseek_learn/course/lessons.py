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
        number: the number of the lesson within its stage: two digits, and a letter
            for a lesson that was inserted later, such as "00b".
        slug: the identifier of the lesson, such as "tour".
        title: the title, as `{"en": ..., "zh": ...}`.
        problems: the ids of the exercises, in order.
    """

    stage: str
    number: str
    slug: str
    title: dict[str, str]
    problems: tuple[str, ...]

    @property
    def file(self) -> str:
        """The path in `notebooks/` or `exercises/`, such as `basic/00_tour.ipynb`."""
        return f"{self.stage}/{self.number}_{self.slug}.ipynb"


@cache
def lessons() -> tuple[Lesson, ...]:
    """Return all lessons in teaching order."""
    rows = tomllib.loads(
        (files(__package__) / "lessons.toml").read_text(encoding="utf-8")
    )["lesson"]
    return tuple(Lesson(**row | {"problems": tuple(row["problems"])}) for row in rows)


def lesson(slug: str) -> Lesson:
    """Return the lesson with the given slug.

    Raises:
        UnknownNameError: if there is no such lesson; the message lists all lessons.
    """
    by_slug = {each.slug: each for each in lessons()}
    if slug not in by_slug:
        raise UnknownNameError("lesson", slug, by_slug)
    return by_slug[slug]
