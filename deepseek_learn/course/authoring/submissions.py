"""Read what students handed in: notebooks and Python files, as text only.

A folder holds one folder per student. In it, at any depth, lie the notebooks of the
exercises or of nbgrader's assignments, with an answer in the cell `ID-answer`, or files
`ID.py`. Nothing here runs or imports anything of a student's.
"""

import ast
import json
import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..problem import Problem

LARGEST = 16 << 20  # bytes of a notebook
FILES, BYTES, CODE = 200, 64 << 20, 4 << 20  # of a student, in all
CELL = 100  # what a cell counts in `CODE`, besides its characters
LONGEST_STARTER = 1 << 16  # a syntax tree takes a thousand times as much memory
DEPTH = 20  # how deep a student's folders are searched
OURS = re.compile(r"(setup|start|progress|heading)|.*-(check|hint|solution|tests)")
MAGIC = ("%", "!", "?")  # how a line begins that is not Python, but Jupyter's


@dataclass(frozen=True)
class Cell:
    """A code cell: its id, as far as it has one, and its source."""

    id: str
    source: str


@dataclass(frozen=True)
class Submission:
    """All that a student handed in.

    Attributes:
        student: the name of the folder.
        notebooks: the code cells of each notebook; a Python file is one cell.
        unreadable: the files that could not be read, with the reason.
    """

    student: str
    notebooks: tuple[tuple[Cell, ...], ...]
    unreadable: tuple[str, ...] = ()

    def answer(self, problem: Problem) -> list[str] | None:
        """Return the cells to run for an answer, the answer's last; None without one.

        They are the student's own cells before it, but no other answers and no checks.
        If several notebooks have an answer, the first that is not the starter counts.
        """
        answers = self._answers(problem)
        attempted = [a for a in answers if not is_starter(a[-1], problem)]
        return next(iter(attempted or answers), None)

    def has(self, problem: Problem) -> bool:
        """Return whether there is an answer, without a look at its code."""
        return bool(self._answers(problem))

    def _answers(self, problem: Problem) -> list[list[str]]:
        return [a for cells in self.notebooks if (a := _before(cells, problem))]


def read(folder: str | Path) -> list[Submission]:
    """Read the submissions in a folder, sorted by the students' names.

    Raises:
        NotADirectoryError: if there is no such folder, or no folder in it.
    """
    root = Path(folder)
    students = (
        sorted(path for path in root.iterdir() if _is_folder(path))
        if root.is_dir()
        else []
    )
    if not students:
        raise NotADirectoryError(
            f"{root} must be a folder with one folder per student."
        )
    return [_read(path) for path in students]


def is_starter(source: str, problem: Problem) -> bool:
    """Return whether an answer is the starter, apart from comments and spaces."""
    if len(source) > LONGEST_STARTER:
        return False
    try:
        return ast.dump(ast.parse(source)) == ast.dump(ast.parse(problem.starter))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _read(folder: Path) -> Submission:
    """Read one student's files; what is wrong with them costs nobody else anything."""
    notebooks: list[tuple[Cell, ...]] = []
    unreadable: list[str] = []
    size = code = 0
    try:
        for path in _files(folder):
            try:
                content = _content(path, min(LARGEST, BYTES - size))
                size += len(content)
                cells = tuple(_code(path, content.decode("utf-8"), CODE - code))
                code += _length(cells)
                notebooks.append(cells)
            except Exception as error:  # the file is a stranger's
                unreadable.append(f"{path.relative_to(folder)}: {_words(error)}")
    except Exception as error:  # and so are the folders
        unreadable.append(_words(error))
    return Submission(folder.name, tuple(notebooks), tuple(unreadable))


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _files(folder: Path) -> Iterator[Path]:
    """Yield notebooks and Python files, without following links."""
    count = 0
    for place, folders, names in os.walk(folder):
        deep = len(Path(place).relative_to(folder).parts) >= DEPTH
        folders[:] = [] if deep else sorted(n for n in folders if n[0] != ".")
        for name in sorted(names):
            if name.endswith((".ipynb", ".py")) and count < FILES:
                count += 1
                yield Path(place) / name


def _content(path: Path, limit: int) -> bytes:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("not a regular file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(
            f"a file has at most {LARGEST} bytes, and all of a student's {BYTES}"
        )
    return content


def _code(path: Path, content: str, limit: int) -> Iterator[Cell]:
    """Yield the code cells of a file.

    Raises:
        ValueError: if it is malformed, or has more code than anyone writes.
    """
    if path.suffix == ".py":
        cells = iter([Cell(f"{path.stem}-answer", content)])
    else:
        cells = _cells(json.loads(content))
    for cell in cells:
        limit -= _length([cell])
        if limit < 0:
            raise ValueError(f"a student has at most {CODE} characters of code in all")
        yield cell


def _length(cells: Sequence[Cell]) -> int:
    return sum(CELL + len(cell.id) + len(cell.source) for cell in cells)


def _cells(notebook: Any) -> Iterator[Cell]:
    for each in _typed(
        _typed(notebook, dict, "the notebook").get("cells"), list, "cells"
    ):
        cell = _typed(each, dict, "a cell")
        if cell.get("cell_type") == "code":
            source = cell.get("source")
            lines = (
                [source] if isinstance(source, str) else _typed(source, list, "source")
            )
            facts = _typed(cell.get("metadata", {}), dict, "metadata")
            # older notebooks have no ids of cells, but nbgrader's
            grader = _typed(facts.get("nbgrader", {}), dict, "nbgrader")
            id = cell.get("id") or grader.get("grade_id") or ""
            yield Cell(_typed(id, str, "id"), without_magic("".join(lines)))


def _typed(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind):
        raise ValueError(f"{name} is a {type(value).__name__}, not a {kind.__name__}")
    return value


def without_magic(source: str) -> str:
    """Return the source with Jupyter's own lines, such as `%time`, emptied."""
    lines = source.split("\n")
    return "\n".join("" if line.lstrip().startswith(MAGIC) else line for line in lines)


def _before(cells: Sequence[Cell], problem: Problem) -> list[str]:
    place = _place(cells, problem)
    if place is None:
        return []
    own = (
        cell
        for cell in cells[:place]
        if not OURS.fullmatch(cell.id) and not cell.id.endswith("-answer")
    )
    return [*(cell.source for cell in own), cells[place].source]


def _place(cells: Sequence[Cell], problem: Problem) -> int | None:
    """Return which cell is the answer: by its id, else by what it defines."""
    for place, cell in enumerate(cells):
        if cell.id == f"{problem.id}-answer":
            return place
    if any(cell.id.endswith("-answer") for cell in cells):
        return None
    name = re.escape(problem.answer)
    defines = re.compile(rf"^(def|class) {name}\b|^{name}\s*=", re.MULTILINE)
    places = [i for i, cell in enumerate(cells) if defines.search(cell.source)]
    return places[-1] if places else None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not path.name.startswith(".")
