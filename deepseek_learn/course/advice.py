"""Where to begin, and what to read first: the rules of the diagnostic."""

from dataclasses import dataclass

from ..catalog import choose
from .lessons import Lesson
from .problem import Text


@dataclass(frozen=True)
class StartRule:
    """A place to begin, for those with few right answers in certain areas.

    Attributes:
        lesson: the lesson to begin with.
        text: the advice.
        areas: the areas whose right answers are counted.
        below: the rule applies to fewer right answers than this; with no areas, it
            always applies.
    """

    lesson: Lesson
    text: Text
    areas: tuple[str, ...] = ()
    below: int = 0


@dataclass(frozen=True)
class ReadingRule:
    """What to read after a mistake in an area; `lesson` is None for other sources."""

    area: str
    text: Text
    lesson: Lesson | None = None


@dataclass(frozen=True)
class Advice:
    """Where to begin, and what to read first."""

    start: StartRule
    reading: tuple[ReadingRule, ...]

    def __repr__(self) -> str:
        lines = [choose(self.start.text), *(choose(each.text) for each in self.reading)]
        return "\n- ".join(lines)
