"""Understand Chinese reviews: files of reviews in, verdicts and the deciding words out.

`solutions.load("reviews").run(folder, out)` reads text files with one review per line, and
CSV files with a column of reviews.
Lesson: `notebooks/practical/12_understand_a_review.ipynb`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..solution import solutions

if TYPE_CHECKING:
    from .report import Reviews


@solutions.register("reviews")
class ReviewReading:
    """Understand Chinese reviews."""

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        **options: Any,
    ) -> "Reviews":
        """Read all reviews in a folder with the zoo's network.

        Args:
            input: a text or CSV file, or a folder of them.
            out: the folder for the verdicts and the page. An interrupted run continues
                where it stopped.
            options: passed to `reading.read_folder`: `column`, `words` and `find`.

        Raises:
            FileNotFoundError, ValueError, FileExistsError: see `reading.read_folder`.
        """
        from .reading import read_folder

        return read_folder(input, out, progress=progress, **options)
