"""The list of lessons, whose single source is `lessons.toml`."""

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ..errors import UnknownNameError

STAGES = ("basic", "practical", "innovation")


@dataclass(frozen=True)
class Lesson:
    """One lesson; `title` is `{"en": ..., "zh": ...}`; `problems` are ids in order."""

    stage: str
    number: str
    slug: str
    title: dict[str, str]
    problems: tuple[str, ...]

    @property
    def file(self) -> str:
        """`basic/00_tour.ipynb`: the path below `notebooks/` and below `exercises/`."""
        return f"{self.stage}/{self.number}_{self.slug}.ipynb"


@cache
def lessons() -> tuple[Lesson, ...]:
    """All lessons, in teaching order."""
    rows = tomllib.loads(
        (files(__package__) / "lessons.toml").read_text(encoding="utf-8")
    )["lesson"]
    return tuple(Lesson(**row | {"problems": tuple(row["problems"])}) for row in rows)


def lesson(slug: str) -> Lesson:
    """The lesson `slug`.

    Raises:
        UnknownNameError: listing the known lessons.
    """
    by_slug = {each.slug: each for each in lessons()}
    if slug not in by_slug:
        raise UnknownNameError("lesson", slug, by_slug)
    return by_slug[slug]
