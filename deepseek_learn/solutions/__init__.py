"""Complete solutions for industries: from the industry's own files to a finished report.

`load(name).run(input, out)` reads a folder and writes verdicts, pictures and a page.
Lesson: `notebooks/basic/00_tour.ipynb`.
"""

import importlib

from ..errors import UnknownNameError
from .runner import IndustrySolution, solutions

__all__ = ["IndustrySolution", "load", "names", "solutions"]

BUILT_IN = (
    "factory",
    "mail",
    "movement",
    "nodules",
    "reviews",
    "wind",
)  # imported when they are first loaded


def names() -> list[str]:
    """Return the names of all solutions.

    >>> from deepseek_learn import solutions
    >>> solutions.names()
    ['factory', 'mail', 'movement', 'nodules', 'reviews', 'wind']
    """
    return sorted({*BUILT_IN, *solutions})


def load(name: str) -> IndustrySolution:
    """Return a solution by name, with the default options.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the known solutions.
        MissingPackageError: if a package is missing; the message tells you what to
            install.

    >>> from deepseek_learn import solutions
    >>> type(solutions.load("wind")).__name__
    'WindFarm'
    """
    if name in BUILT_IN:
        importlib.import_module(f".{name}.solution", __name__)
    elif name not in solutions:
        raise UnknownNameError("solution", name, names())
    return solutions[name]()
