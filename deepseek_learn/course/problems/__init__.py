"""Load the exercises, `exercises/problems/<stage>_<lesson's number>_<lesson>/<id>/`.

A wheel has these folders here, and their modules are imported as modules of this package
in a checkout too. Each contains

- `words.en.md`, `words.zh.md`: what the learner reads (`words.py` explains the format);
- `answers.py`: the starter, the solution, other correct answers and wrong ones, one
  cell each;
- `check.py`: `check(answer, rng)`.

`lessons.toml` defines the order in which they are taught.
"""

import importlib
import re
from functools import cache
from pathlib import Path

from ...errors import UnknownNameError
from ...files import REPOSITORY
from ..lessons import Lesson, lessons
from ..problem import Problem
from ..words import read_words

CHECKOUT = REPOSITORY / "exercises" / "problems"
FOLDER = CHECKOUT if CHECKOUT.is_dir() else Path(__file__).parent
__path__.append(str(FOLDER))
CELL = re.compile(r"^# %% (.+)\n", re.MULTILINE)


def names(lesson: str | None = None) -> list[str]:
    """Return the ids of all exercises, or of those of one lesson, in teaching order."""
    return [
        p for each in lessons() if lesson in (None, each.slug) for p in each.problems
    ]


@cache
def get(id: str) -> Problem:
    """Return the exercise `id`.

    Raises:
        UnknownNameError: if there is no such exercise; the message lists all.
    """
    for lesson in lessons():
        if id in lesson.problems:
            return _read(lesson, id)
    raise UnknownNameError("problem", id, names())


def load(lesson: str | None = None) -> list[Problem]:
    """Load all exercises, or those of one lesson, in teaching order."""
    return [get(id) for id in names(lesson)]


def read_answers(path: Path) -> dict[str, str]:
    """Read the cells of a percent-format file, as a map from heading to code."""
    _, *parts = CELL.split(path.read_text(encoding="utf-8"))
    codes = (code.strip("\n") + "\n" for code in parts[1::2])
    return dict(zip(parts[::2], codes, strict=True))


def _read(lesson: Lesson, id: str) -> Problem:
    name = f"{lesson.stage}_{lesson.number}_{lesson.slug}"
    facts, words = read_words(FOLDER / name / id)
    cells = read_answers(FOLDER / name / id / "answers.py")
    return Problem(
        id=id,
        lesson=lesson.slug,
        stage=lesson.stage,
        starter=cells.pop("starter"),
        solution=cells.pop("solution", None),
        right=_starting(cells, "right: "),
        wrong=_starting(cells, "wrong: "),
        check=importlib.import_module(f".{name}.{id}.check", __name__).check,
        **words,
        **facts,
    )


def _starting(cells: dict[str, str], start: str) -> dict[str, str]:
    return {k.removeprefix(start): v for k, v in cells.items() if k.startswith(start)}
