"""The shape that all solutions share, and their registry."""

from pathlib import Path
from typing import Any, Protocol

from ..registry import Registry
from ..report import Report


class Solution(Protocol):
    """A complete solution: it reads a folder and writes a folder.

    The output folder always contains `verdicts.jsonl` with one line per item and
    `index.html`. A run that was interrupted continues where it stopped.
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
