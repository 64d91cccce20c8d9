"""The *Find it* page, which lists where each paper is implemented, taught and benchmarked.

The page is generated from the source code, so it is always up to date. Docstrings and
comments must cite papers in the form AUTHORS YEAR, "TITLE", VENUE. The lesson is named
in the file that cites the paper or, failing that, in the file's package. The benchmarks
listed are the scripts that import the file.
"""

import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ...catalog import choose, text
from ..lessons import Lesson, lessons
from .import_graph import LIBRARY, ImportGraph

# one author, two joined by "&", or the first of several
AUTHORS = r"[A-Z][\w-]+(?: et al\.| & [A-Z][\w-]+)? (?:19|20)\d\d"
# an arXiv number, or a journal or publisher
VENUE = r"arXiv \d{4}\.\d{4,5}|[A-Z][\w-]*(?: [\w&-]+)*(?:\(\d+\))?"
CITATION = re.compile(rf'({AUTHORS}), "([^"]+)"(?:, ({VENUE}))?')
# text that looks like part of a citation; it is an error anywhere else (RFC 2046 does not)
TRACE = re.compile(r"\bet al\.|\barXiv \d|\bdoi\b|\b(?!RFC)[A-Z][\w-]+[,.]? \(?(?:19|20)\d\d\b")
TABLE = ":::{list-table}\n:header-rows: 1\n:widths: 36 19 20 25\n:class: find-it"
LESSON = re.compile(r"notebooks/([\w/]+\.ipynb)")


class Paper(NamedTuple):
    """A paper cited in a file; `place` may be empty."""

    authors: str
    title: str
    place: str


@dataclass(frozen=True)
class Entry:
    """A file that cites papers.

    Attributes:
        file: the path of the file in the repository.
        papers: the papers that it cites.
        lesson: the lesson that teaches the methods, if there is one.
        scripts: the names of the benchmark scripts that measure the file.
    """

    file: str
    papers: tuple[Paper, ...]
    lesson: Lesson | None
    scripts: tuple[str, ...]


def entries(root: str | Path) -> list[Entry]:
    """Return the files of the library that cite papers, sorted by path."""
    root = Path(root)
    graph, rows = ImportGraph(root), []
    for path in _files(root):
        prose = "\n".join(_prose(path))
        if papers := dict.fromkeys(map(Paper._make, CITATION.findall(prose))):
            file = path.relative_to(root).as_posix()
            rows.append(
                Entry(file, (*papers,), _lesson(path, root), graph.scripts(file))
            )
    return rows


def check(root: str | Path) -> list[str]:
    """Return a message for each malformed citation and each file without a lesson."""
    root = Path(root)
    problems = [
        f"{path.relative_to(root).as_posix()}: {trace[0]!r} is not part of a citation "
        'in the form AUTHORS YEAR, "TITLE", VENUE.'
        for path in _files(root)
        for passage in _prose(path)
        for trace in TRACE.finditer(CITATION.sub("", passage))
    ]
    files = [entry.file for entry in entries(root) if entry.lesson is None]
    return problems + [
        f"{file}: neither it nor its package names a lesson." for file in files
    ]


def to_markdown(root: str | Path, lang: str | None = None) -> str:
    """Return the content of the page in Markdown, with one table per package."""
    sections = []
    for package, rows in groupby(entries(root), lambda entry: entry.file.split("/")[1]):
        table = [tuple(text("find_it.columns", lang).split(" | "))]
        table += [_cells(entry, Path(root), lang) for entry in rows]
        body = "\n".join("* - " + "\n  - ".join(cells) for cells in table)
        sections.append(f"## `{package}/`\n\n{TABLE}\n\n{body}\n:::")
    return "\n\n".join(sections)


def _files(root: Path) -> list[Path]:
    exercises = root / LIBRARY / "course" / "problems"
    paths = sorted((root / LIBRARY).rglob("*.py"))
    return [path for path in paths if exercises not in path.parents]


def _prose(path: Path) -> Iterator[str]:
    """Yield each docstring and each block of comments as a single line."""
    block: list[str] = []
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type == tokenize.COMMENT:
                block.append(token.string.lstrip("# "))
            elif token.type != tokenize.NL and block:
                yield " ".join(block)
                block = []
            if token.type == tokenize.STRING and '"""' in token.string[:4]:
                yield " ".join(token.string.split())


def _lesson(path: Path, root: Path) -> Lesson | None:
    """Return the lesson named in the file or in the closest package that names one."""
    by_file = {lesson.file: lesson for lesson in lessons()}
    packages = [
        folder / "__init__.py" for folder in path.parents if root in folder.parents
    ]
    for source in filter(Path.is_file, (path, *packages)):
        if name := LESSON.search(source.read_text(encoding="utf-8")):
            return by_file.get(name[1])
    return None


def _cells(entry: Entry, root: Path, lang: str | None) -> tuple[str, ...]:
    return (
        "\n    ".join(f"- {_source(paper)}" for paper in entry.papers),
        f"`{entry.file.split('/', 2)[2]}`",
        _link(entry.lesson, root, lang) if entry.lesson else "–",
        " ".join(f"`{script}`" for script in entry.scripts) or "–",
    )


def _source(paper: Paper) -> str:
    place = paper.place
    if place.startswith("arXiv"):
        place = f"[{place}](https://arxiv.org/abs/{place.removeprefix('arXiv ')})"
    return ", ".join(filter(None, [f"*{paper.title}*", paper.authors, place]))


def _link(lesson: Lesson, root: Path, lang: str | None) -> str:
    """Return a link to the lesson, in English if the lesson is not translated."""
    title, page = choose(lesson.title, lang), f"notebooks/{lesson.file}"
    if lang == "zh" and not (root / "zh" / page).is_file():
        return f"[{text('find_it.in_english', lang, title=title)}](../../{page})"
    return f"[{title}](../{page})"
