"""Show the learner's progress, in a notebook and in a terminal.

The module cannot be called `progress`: importing it would replace the function.
"""

import html
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..catalog import choose, language, text
from ..report import Report
from . import record
from .display import duration, enumeration, html_bar
from .lessons import Lesson, lesson, lesson_after
from .places import address, course_folder, exercise_path, lesson_path
from .standing import Standing, by_stage, counts, next_standing, standings

if TYPE_CHECKING:
    import plotly.graph_objects as go

PERSONAL = "personal"  # metadata key of notebook outputs that must not be published
MARKS = {"passed": "✓", "not attempted": "…"}


def progress(
    slug: str | None = None,
    *,
    export: str | Path | None = None,
    import_: str | Path | None = None,
) -> "Progress":
    """Return the learner's progress, displayed by stage and lesson with what is next.

    Args:
        slug: a lesson, such as "tour", of which alone the progress is shown; by
            default, all lessons are.
        export: a file to which all records are written, for example to move them to
            another computer.
        import_: an exported file whose records are added first. A pass that has already
            been recorded is never lost.

    Raises:
        UnknownNameError: if there is no such lesson; the message lists all lessons.
        FileNotFoundError: if the file `import_` does not exist.
        IsADirectoryError: if `export` or `import_` is a folder; nothing is changed.
        OSError: if a file cannot be read or written; the message includes the file name
            and the reason.
        DamagedFileError: if a file is not a progress file or has a newer format;
            nothing is changed.

    >>> from deepseek_learn import course
    >>> course.progress().passed
    []
    """
    if slug is not None:
        lesson(slug)
    if export is not None and Path(export).is_dir():
        raise IsADirectoryError(text("progress.export_folder", path=str(export)))
    if import_ is not None:
        record.import_from(Path(import_))
    if export is not None:
        record.export_to(Path(export))
    return Progress(record.read(), slug)


@dataclass(frozen=True)
class Progress(Report):
    """The learner's progress in all lessons, or in one.

    Attributes:
        records: one dictionary per recorded outcome, oldest first.
        slug: the lesson that is shown, or None for all.
        folder: the folder from which links lead to the notebooks.
    """

    records: tuple[dict, ...]
    slug: str | None = None
    folder: Path = field(default_factory=Path.cwd)

    @property
    def passed(self) -> list[str]:
        """The ids of the problems whose current version has been passed."""
        return [row["problem"] for row in self._rows() if row["status"] == "passed"]

    @cached_property
    def lessons(self) -> tuple[Standing, ...]:
        """The standing in each lesson that is shown, in teaching order."""
        every = standings(self.records)
        return tuple(s for s in every if self.slug in (None, s.lesson.slug))

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row per problem, including its status and points."""
        return pd.DataFrame(self._rows()).set_index("problem")

    def plot(self) -> "go.Figure":
        """Plot the points earned and remaining, with one bar per lesson (plotly)."""
        import plotly.graph_objects as go

        sums = (
            self.to_frame().groupby("lesson", sort=False)[["points", "possible"]].sum()
        )
        missing = sums["possible"] - sums["points"]
        bars = [
            go.Bar(y=sums.index, x=sums["points"], orientation="h", name="✓"),
            go.Bar(y=sums.index, x=missing, orientation="h", name="…"),
        ]
        return go.Figure(bars, {"barmode": "stack"})

    def why(self) -> str:
        rows = self._rows()
        points, possible = (sum(r[k] for r in rows) for k in ("points", "possible"))
        return text(
            "progress.summary",
            points=points,
            possible=possible,
            passed=len(self.passed),
            count=len(rows),
        )

    def next(self) -> str:
        """Return one sentence that says what comes next, with the notebook's path."""
        return self._next(lambda words, path: f"{words} ({path})")

    def next_html(self) -> str:
        """Return the sentence that says what comes next, with a link, as HTML."""
        return self._next(self._anchor)

    def __repr__(self) -> str:
        lines = [f"{_bar(self.lessons)} {self.why()}", self.next()]
        for stage, part in by_stage(self.lessons) if self.slug is None else ():
            lines += ["", f"{_bar(part)} {stage_line(stage, part)}"]
            lines += [
                f"  {_bar([each], 5)} {each.passed}/{len(each.results)}  "
                f"{each.lesson.number} {choose(each.lesson.title)}"
                for each in part
            ]
        return "\n".join(lines)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        width = "20em" if self.slug is None else "8em"
        bar = html_bar(*counts(self.lessons), self.why(), width)
        head = f"<p>{bar} {html.escape(self.why())} {self.next_html()}</p>"
        return head if self.slug else head + self.table_html()

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict, dict]:
        """Mark the output as personal in its metadata, so that it is not published."""
        return {}, {PERSONAL: True}

    def table_html(self) -> str:
        """Return a table of the lessons by stage, with bars and links, as HTML."""
        rows = ""
        for stage, part in by_stage(self.lessons):
            heading = html.escape(stage_line(stage, part))
            rows += f'<tr><th colspan="4" style="text-align:left">{heading}</th></tr>'
            rows += "".join(map(self._lesson_row, part))
        return f"<table>{rows}</table>"

    def _lesson_row(self, each: Standing) -> str:
        title = f"{each.lesson.number} {choose(each.lesson.title)}"
        words = text("progress.exercises")
        share = f"{each.passed}/{len(each.results)}"
        exercises = self._anchor(words, exercise_path(each.lesson, language()))
        cells = (
            html_bar(*counts([each]), title, "4em"),
            self._anchor(title, self._lesson_path(each.lesson)),
            exercises if each.results else "",
            share if each.results else "",
        )
        cell_tag = '<td style="text-align:left">'
        return "<tr>" + "".join(f"{cell_tag}{cell}</td>" for cell in cells) + "</tr>"

    def _next(self, link_to: Any) -> str:
        """Return what comes next; `link_to(words, path)` formats a link."""
        lang = language()
        if self.slug is None:
            following = next_standing(self.lessons)
        else:
            (current,) = self.lessons
            if current.open:
                titles = enumeration(choose(each.title) for each in current.open)
                path = exercise_path(current.lesson, lang)
                return text("progress.open", titles=link_to(titles, path))
            after = lesson_after(current.lesson)
            following = Standing(after, ()) if after else None
        if following is None:
            return text("progress.done")
        title = choose(following.lesson.title)
        if following.last:
            path = exercise_path(following.lesson, lang)
            title = text("exercises.heading", title=title)
        else:
            path = self._lesson_path(following.lesson)
        return text("progress.next", what=link_to(title, path))

    def _anchor(self, words: str, path: str) -> str:
        """Return a link in HTML, or the path as text if there is no such notebook."""
        href = address(path, self.folder)
        if href is None:
            return f"{html.escape(words)} (<code>{path}</code>)"
        return f'<a href="{href}">{html.escape(words)}</a>'

    def _lesson_path(self, current: Lesson) -> str:
        root = course_folder(self.folder)
        return lesson_path(current, language(), root or self.folder)

    def _rows(self) -> list[dict]:
        return [
            {
                "lesson": each.lesson.slug,
                "problem": result.problem.id,
                "title": choose(result.problem.title),
                "status": result.status,
                "mark": MARKS.get(result.status, "✗"),
                "points": result.points,
                "possible": result.problem.points,
                "time": result.time,
            }
            for each in self.lessons
            for result in each.results
        ]


def stage_line(stage: str, part: Iterable[Standing]) -> str:
    """Return the stage's name and the time that its open lessons and exercises take."""
    minutes = sum(each.minutes_left for each in part)
    name = text(f"stage.{stage}")
    return text("stage.left", stage=name, left=duration(minutes)) if minutes else name


def _bar(part: Iterable[Standing], width: int = 20) -> str:
    passed, total = counts(part)
    filled = round(width * passed / max(total, 1))
    return f"[{'█' * filled}{'·' * (width - filled)}]"
