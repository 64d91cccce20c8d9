"""Lung nodules in CT scans: DICOM in, findings as DICOM out. Not for diagnosis.

`solutions.load("nodules").run(folder, out)` screens all scans in a folder. The detector has
only seen phantoms: generated chests with the shapes of real nodules.
Lessons: `notebooks/practical/06_read_a_ct.ipynb` and `07_find_nodules.ipynb`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..solution import solutions

if TYPE_CHECKING:
    from .report import Screening


@solutions.register("nodules")
class NoduleScreening:
    """Find nodules in CT scans of the chest. Not for diagnosis."""

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        **options: Any,
    ) -> "Screening":
        """Screen all scans in a folder with the zoo's detector.

        Args:
            input: the folder with the scans: DICOM series, or LUNA16's `.mhd` files.
            out: the folder for the verdicts, the findings as SEG and SR, the pictures and
                the page. An interrupted run continues where it stopped.
            options: passed to `screening.screen`: `rate`, `gaps` and `tilt`.

        Raises:
            MissingPackageError: if the extra `medical` is not installed.
            FileNotFoundError, ValueError, FileExistsError: see `screening.screen`.
        """
        from .screening import pretrained, screen

        return screen(pretrained(), input, out, progress=progress, **options)
