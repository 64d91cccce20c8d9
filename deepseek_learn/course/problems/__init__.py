"""The exercises, one module each: `<stage>_<lesson's number>_<id>.py`.

Each module holds one `problem = Problem(...)`; `lessons.toml` says in which order.
"""

import importlib

from ...errors import UnknownNameError
from ..lessons import lessons
from ..problem import Problem


def names(lesson: str | None = None) -> list[str]:
    """The ids of all exercises, or of one lesson's, in teaching order."""
    return [
        p for each in lessons() if lesson in (None, each.slug) for p in each.problems
    ]


def get(id: str) -> Problem:
    """The exercise `id`.

    Raises:
        UnknownNameError: naming the exercises there are.
    """
    for lesson in lessons():
        if id in lesson.problems:
            module = f".{lesson.stage}_{lesson.number}_{id}"
            return importlib.import_module(module, __name__).problem
    raise UnknownNameError("problem", id, names())


def load(lesson: str | None = None) -> list[Problem]:
    """All exercises, or one lesson's, in teaching order."""
    return [get(id) for id in names(lesson)]
