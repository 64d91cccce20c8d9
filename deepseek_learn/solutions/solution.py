"""The shape that all solutions share, and their registry."""

from pathlib import Path
from typing import Any, Protocol

from ..catalog import text
from ..registry import Registry
from ..report import Report
from .page import PAGE, is_replaceable


class Solution(Protocol):
    """A complete solution: it reads a folder and writes a folder.

    The output folder always contains `verdicts.jsonl` with one line per item and
    `index.html`. A run that was interrupted continues where it stopped.

    >>> from deepseek_learn import solutions
    >>> wind: solutions.Solution = solutions.load("wind")
    >>> callable(wind.run)
    True
    """

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        **options: Any,
    ) -> Report:
        """Process all items in `input` and write the results to `out`."""
        ...


solutions: Registry[type[Solution]] = Registry("solution")


def places(input: str | Path, out: str | Path) -> tuple[Path, Path]:
    """Return the input and the output of a run, checked before anything is computed.

    Raises:
        ValueError: if one of them is not a path, or empty.
        FileNotFoundError: if the input does not exist.
        FileExistsError: if the output is in a file's place, or is a folder with an
            `index.html` that no solution wrote.
    """
    for name, path in (("input", input), ("out", out)):
        if not isinstance(path, str | Path) or not str(path):
            raise ValueError(text("solution.no_path", name=name, path=repr(path)))
    input, out = Path(input), Path(out)
    if not input.exists():
        raise FileNotFoundError(text("solution.missing", path=input))
    nearest = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise FileExistsError(text("solution.out_is_file", out=out, file=nearest))
    if not is_replaceable(out / PAGE):
        raise FileExistsError(text("solution.foreign_page", out=out))
    return input, out
