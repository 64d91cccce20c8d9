"""Read movements from a sensor at the waist: recordings in, who did what when out.

`solutions.load("movement").run(folder, out)` reads CSV files with acceleration and angular
velocity. Not a medical device.
Lesson: `notebooks/practical/11_read_a_movement.ipynb`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..solution import solutions

if TYPE_CHECKING:
    from .report import Movements


@solutions.register("movement")
class MovementReading:
    """Read movements from a sensor at the waist."""

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        **options: Any,
    ) -> "Movements":
        """Read all recordings in a folder with the zoo's network.

        Args:
            input: a CSV file, or a folder of them.
            out: the folder for the verdicts, the pictures and the page. An interrupted run
                continues where it stopped.
            options: passed to `reading.read_folder`: `delay`, `columns` and `rate`.

        Raises:
            FileNotFoundError, ValueError, FileExistsError: see `reading.read_folder`.
        """
        from .reading import read_folder

        return read_folder(input, out, progress=progress, **options)
