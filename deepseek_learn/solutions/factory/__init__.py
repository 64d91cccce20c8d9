"""Factory inspection: find defective parts after seeing good ones only.

`solutions.load("factory").run(folder, out)` learns from the images in `folder/good` and
judges all other images in `folder`.
"""

from pathlib import Path
from typing import Any

from ..solution import places, solutions
from .inspector import inspect, learn, to_judge
from .report import Inspection

GOOD = "good"  # the subfolder with the good parts


@solutions.register("factory")
class FactoryInspection:
    """Inspect photographs of parts with a detector that has only seen good parts."""

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        good: str | Path | None = None,
        **options: Any,
    ) -> Inspection:
        """Learn from good parts, then judge all other images in a folder.

        Args:
            input: the folder with the parts.
            out: the folder for the verdicts, the overlays and the page. An interrupted
                run continues where it stopped.
            good: the folder with the good parts; by default, `input/good`.
            options: passed to `learn`, such as `rate=0.01`.

        Raises:
            FileNotFoundError: if a folder does not exist.
            ValueError: if a folder contains no image, if there are too few good parts for
                the rate of false alarms, or if `out` is in the folder of the good parts
                or contains the parts.
            PartError: if an image of a good part cannot be read or shows nothing.
            FileExistsError: if another run is writing to `out`; see also `places`.
        """
        folder, out = places(input, out)
        if not folder.is_dir():
            raise FileNotFoundError(f"{str(folder)!r} is not a folder of images.")
        reference = Path(good) if good is not None else folder / GOOD
        if not reference.is_dir():
            raise FileNotFoundError(
                f"The factory solution learns from good parts: put their images into "
                f"{str(reference)!r}."
            )
        if out.resolve().is_relative_to(reference.resolve()):
            raise ValueError(
                f"out must not be in the folder of the good parts; got {str(out)!r}."
            )
        to_judge(folder, out, reference)  # fails now, not after learning
        return inspect(learn(reference, **options), folder, out, progress, reference)
