"""Tables about the lessons, written into pages of the book.

A page holds a table between two comments, `<!-- generated: hours basic -->` and
`<!-- /generated -->`. The first word is the name of a function in `TABLES`, the others
are its arguments. The tables are committed, so that GitHub shows them, too.
"""

import json
import re
import tomllib
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files as package_files
from math import ceil
from pathlib import Path

from ...catalog import choose, text
from .. import problems
from ..display import duration, enumeration
from ..lessons import STAGES, Lesson, lesson, lessons
from .signposts import anchor_to

PACE = (5, 8)  # hours per week
BLOCK = re.compile(r"(<!-- generated: ([\w ]+) -->\n).*?(<!-- /generated -->)", re.S)


def files(root: Path) -> dict[Path, str]:
    """Return the pages that have such tables, with the tables as they should be."""
    contents = {}
    for path in sorted([*root.glob("book/*.md"), *root.glob("zh/book/*.md")]):
        source = path.read_text(encoding="utf-8")
        if BLOCK.search(source):
            contents[path] = _filled(source, path.relative_to(root).as_posix(), root)
    return contents


def without_tables(page: str) -> str:
    """Return a page without its generated tables, which nobody translates."""
    return BLOCK.sub(r"\1\3", page)


def hours(stage: str, lang: str, source: str, root: Path) -> str:
    """Return how long a stage takes, as one sentence."""
    reading, solving = _minutes(each for each in lessons() if each.stage == stage)
    return text(
        "syllabus.hours",
        lang,
        total=_hours(reading + solving),
        reading=_hours(reading),
        solving=_hours(solving),
    )


def stages(lang: str, source: str, root: Path) -> str:
    """Return a table of the stages, and the hours and weeks that they take."""
    rows = []
    for stage in STAGES:
        part = [each for each in lessons() if each.stage == stage]
        tasks = sum(len(each.problems) for each in part)
        minutes = _minutes(part)
        times = map(_hours, (*minutes, sum(minutes)))
        weeks = "–".join(str(ceil(sum(minutes) / 60 / pace)) for pace in PACE[::-1])
        name = f"[{text(f'stage.{stage}', lang)}]({_stage_page(stage, lang, root)})"
        rows.append([name, len(part), tasks, *times, weeks])
    return _table(
        text("syllabus.stages_head", lang, pace="–".join(map(str, PACE))), rows
    )


def stage(name: str, lang: str, source: str, root: Path) -> str:
    """Return a table of a stage's lessons."""
    rows = []
    for each in lessons():
        if each.stage == name:
            needed = [other for other in lessons() if other.slug in each.needs]
            numbers = (_place(other, name, lang) for other in needed)
            needs = enumeration(numbers, lang) or "–"
            reading, solving = _minutes([each])
            time = f"{reading} + {solving}"
            anchor = anchor_to(each, lang, source, root)
            memory = _peak_gb(root / "notebooks" / each.file)
            outcome = choose(each.outcome, lang)
            rows.append([anchor, outcome, needs, time, f"{memory:.1f}"])
    return _table(text("syllabus.stage_head", lang), rows)


def tracks(lang: str, source: str, root: Path) -> str:
    """Return a section for each track: for whom, its lessons and its hours."""
    sections = []
    for track in _tracks():
        part = tuple(map(lesson, track["lessons"])) or lessons()
        total = duration(sum(_minutes(part)), lang)
        time = text("syllabus.track_time", lang, count=len(part), total=total)
        sections += [f"### {choose(track['title'], lang)}", choose(track["text"], lang)]
        sections.append(time)
        if track["lessons"]:
            sections.append(_by_stage(part, lang, source, root))
    return "\n\n".join(sections)


TABLES: dict[str, Callable[..., str]] = {
    table.__name__: table for table in (hours, stages, stage, tracks)
}


def _filled(page: str, source: str, root: Path) -> str:
    """Return the page `source` with its tables."""
    lang = "zh" if source.startswith("zh/") else "en"

    def block(match: re.Match) -> str:
        start, words, end = match.groups()
        name, *arguments = words.split()
        return f"{start}{TABLES[name](*arguments, lang, source, root)}\n{end}"

    return BLOCK.sub(block, page)


@cache
def _tracks() -> list[dict]:
    path = package_files("deepseek_learn.course") / "tracks.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))["track"]


def _minutes(part: Iterable[Lesson]) -> tuple[int, int]:
    """Return the stated minutes of some lessons and of their exercises."""
    part = list(part)
    tasks = [problem for each in part for problem in problems.load(each.slug)]
    return sum(each.minutes for each in part), sum(task.minutes for task in tasks)


def _peak_gb(path: Path) -> float:
    """Return the peak memory of a lesson's last run, which `author run` stored."""
    metadata = json.loads(path.read_text(encoding="utf-8"))["metadata"]
    return metadata["cost"]["peak_mib"] * 2**20 / 1e9


def _hours(minutes: int) -> str:
    return f"{minutes / 60:.1f}"


def _by_stage(part: Sequence[Lesson], lang: str, source: str, root: Path) -> str:
    """Return a list with one line per stage, which links its lessons in order."""
    lines = []
    for stage in STAGES:
        anchors = (anchor_to(x, lang, source, root) for x in part if x.stage == stage)
        name = f"- **{text(f'stage.{stage}', lang)}**"
        lines.append(" · ".join([name, *anchors]))
    return "\n".join(lines)


def _place(needed: Lesson, stage: str, lang: str) -> str:
    """Return a lesson's number, with its stage unless that is the current one."""
    if needed.stage == stage:
        return needed.number
    return text(f"stage.short_{needed.stage}", lang, number=needed.number)


def _stage_page(stage: str, lang: str, root: Path) -> str:
    translated = lang == "en" or (root / "zh" / "book" / f"{stage}.md").exists()
    return f"{stage}.md" if translated else f"../../book/{stage}.md"


def _table(head: str, rows: list[list]) -> str:
    rule = "|" + "---|" * (head.count("|") - 1)
    lines = ("| " + " | ".join(map(str, row)) + " |" for row in rows)
    return "\n".join([head, rule, *lines])
