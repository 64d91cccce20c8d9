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
FILES = 200  # of a student
OURS = re.compile(r"(setup|start|progress|heading)|.*-(check|hint|solution|tests)")
MAGIC = re.compile(r"^\s*[%!?].*$", re.MULTILINE)


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
        answers = [a for cells in self.notebooks if (a := _before(cells, problem))]
        attempted = [a for a in answers if not is_starter(a[-1], problem)]
        return next(iter(attempted or answers), None)


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
    try:
        return ast.dump(ast.parse(source)) == ast.dump(ast.parse(problem.starter))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False


def _read(folder: Path) -> Submission:
    notebooks: list[tuple[Cell, ...]] = []
    unreadable = []
    for path in _files(folder):
        try:
            content = _content(path)
            if path.suffix == ".py":
                notebooks.append((Cell(f"{path.stem}-answer", content),))
            else:
                notebooks.append(tuple(_cells(json.loads(content))))
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            name = path.relative_to(folder)
            unreadable.append(f"{name}: {type(error).__name__}: {error}")
    return Submission(folder.name, tuple(notebooks), tuple(unreadable))


def _files(folder: Path) -> Iterator[Path]:
    """Yield notebooks and Python files, without following links."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if name.endswith((".ipynb", ".py")) and count < FILES:
                count += 1
                yield Path(place) / name


def _content(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError("not a regular file")
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise ValueError(f"larger than {LARGEST} bytes")
    return content.decode("utf-8")


def _cells(notebook: dict[str, Any]) -> Iterator[Cell]:
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            source = cell["source"]
            source = source if isinstance(source, str) else "".join(source)
            facts = cell.get("metadata", {})
            # older notebooks have no ids of cells, but nbgrader's
            id = cell.get("id") or facts.get("nbgrader", {}).get("grade_id") or ""
            yield Cell(str(id), MAGIC.sub("", source))


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
