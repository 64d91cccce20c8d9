"""The diagnostic: twelve questions, whose answers say where to begin.

`quizzes/diagnostic.toml` has the questions, each with an area, and the rules:

    [[start]]               # the first rule that applies says where to begin
    areas = ["python"]      # applies with fewer than `below` right answers in the areas;
    below = 2               # the last rule has neither and always applies
    lesson = "tour"
    text = { en = ..., zh = ... }

    [[read]]                # what to read first, after a mistake in the area
    area = "python"
    text = { en = ..., zh = ... }
    lesson = "tour"         # optional
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from ..catalog import language, text
from ..errors import UnknownNameError
from .advice import Advice, ReadingRule, StartRule
from .diagnostic_form import Link, diagnostic_form
from .lessons import Lesson, lesson, lessons
from .places import address, course_folder, lesson_path
from .questions import (
    Question,
    in_terminal,
    parse_questions,
    read_toml,
    require,
    rows_of,
    words,
)

NAME = "diagnostic.toml"


@dataclass(frozen=True)
class Diagnostic:
    """The diagnostic, which a notebook displays as a form.

    Attributes:
        questions: the questions, each with an area.
        starts: the rules about where to begin; the first one that applies counts.
        readings: what to read after mistakes, in order.
        lang: the language in which it is displayed.
    """

    questions: tuple[Question, ...]
    starts: tuple[StartRule, ...]
    readings: tuple[ReadingRule, ...]
    lang: str | None = None

    def advise(self, right: Collection[str]) -> Advice:
        """Return the advice for the questions that were answered right.

        Args:
            right: the slugs of these questions.

        Raises:
            UnknownNameError: if there is no such question.
        """
        known = {question.slug: question for question in self.questions}
        for slug in right:
            if slug not in known:
                raise UnknownNameError("question", slug, known)
        areas = [q.area for q in self.questions if q.slug in right]
        missed = {q.area for q in self.questions if q.slug not in right}
        start = next(
            rule
            for rule in self.starts
            if not rule.areas or sum(area in rule.areas for area in areas) < rule.below
        )
        reading = tuple(each for each in self.readings if each.area in missed)
        return Advice(start, reading)

    def __repr__(self) -> str:
        return in_terminal(self.questions, self.lang)

    def _repr_html_(self) -> str:
        return self.to_html(self._address)

    def to_html(self, link: Link) -> str:
        """Return the form; `link` gives the address of a lesson, or None."""
        parts = self.questions, self.starts, self.readings
        return diagnostic_form(*parts, self.lang or language(), link)

    def _address(self, place: Lesson) -> str | None:
        folder = Path.cwd()
        root = course_folder(folder) or folder
        return address(lesson_path(place, self.lang or language(), root), folder)


def diagnostic(lang: str | None = None) -> Diagnostic:
    """Return the diagnostic; a notebook displays it as a form.

    Args:
        lang: the language; by default, the one that `start` has set.

    Raises:
        ValueError: if `lang` is neither "en" nor "zh".
        DamagedFileError: if the file of the diagnostic is malformed.

    >>> from deepseek_learn import course
    >>> type(course.diagnostic("en")).__name__
    'Diagnostic'
    """
    text("diagnostic.submit", lang)  # refuses another language
    tables = read_toml(files(__package__) / "quizzes" / NAME)
    return parse_diagnostic(tables, lang)


def parse_diagnostic(tables: Mapping[str, Any], lang: str | None = None) -> Diagnostic:
    """Return the diagnostic in `tables`, the content of its file.

    Raises:
        DamagedFileError: if a question or a rule is malformed.
    """
    questions = parse_questions(tables, NAME)
    counts = {q.area: 0 for q in questions}
    for question in questions:
        counts[question.area] += 1
    require("" not in counts, NAME, "has a question without an area")
    starts = tuple(
        _start(row, counts, f"{NAME}, start {i}") for i, row in _list(tables, "start")
    )
    readings = tuple(
        _reading(row, counts, f"{NAME}, read {i}") for i, row in _list(tables, "read")
    )
    only_last = [not rule.areas for rule in starts] == [False] * (len(starts) - 1) + [
        True
    ]
    require(only_last, NAME, "must have one start without areas, the last one")
    unread = sorted(set(counts) - {reading.area for reading in readings})
    require(not unread, NAME, f"has no [[read]] for the area {unread[:1]}")
    return Diagnostic(questions, starts, readings, lang)


def _list(tables: Mapping[str, Any], field: str) -> list[tuple[int, Any]]:
    rows = tables.get(field)
    valid = isinstance(rows, list) and all(isinstance(row, dict) for row in rows)
    require(valid and bool(rows), NAME, f"has no [[{field}]]")
    return rows_of(rows or [])


def _start(row: dict[str, Any], counts: Mapping[str, int], where: str) -> StartRule:
    areas, below = tuple(row.get("areas", ())), row.get("below", 0)
    unknown = sorted(set(areas) - set(counts))
    require(not unknown, where, f"has the area {unknown[:1]}, which no question has")
    most = sum(counts[area] for area in areas)
    valid = 1 <= below <= most if areas else below == 0
    require(valid, where, f"has below = {below!r}; its areas have {most} questions")
    return StartRule(
        _lesson(row.get("lesson"), where),
        words(row.get("text"), where, "text"),
        areas,
        below,
    )


def _reading(row: dict[str, Any], counts: Mapping[str, int], where: str) -> ReadingRule:
    area = row.get("area", "")
    require(area in counts, where, f"has the area {area!r}, which no question has")
    place = _lesson(row["lesson"], where) if "lesson" in row else None
    return ReadingRule(area, words(row.get("text"), where, "text"), place)


def _lesson(slug: Any, where: str) -> Lesson:
    known = {each.slug for each in lessons()}
    require(slug in known, where, f"has the lesson {slug!r}, which does not exist")
    return lesson(slug)
