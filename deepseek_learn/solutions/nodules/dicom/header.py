"""The header of one image, read element by element.

Elements of DICOM files are often missing, malformed or of another kind than the standard
says, so each is read as text, as finite numbers or as it is in the file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from ...verdicts import RefusedError


class SeriesError(RefusedError):
    """Raised for a series that cannot be read with certainty; the message says why."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series: its header, and where its pixels are.

    Each element is decoded once, whichever checks ask for it.

    Attributes:
        header: the elements of this image, without pixels.
        frame: the index of the frame in a multi-frame file; None in other files.
    """

    path: Path
    header: Dataset
    frame: int | None = None
    _texts: dict[str, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def name(self) -> str:
        """The name of the file, with the number of the frame where there are several."""
        frame = "" if self.frame is None else f", frame {self.frame + 1}"
        return f"{self.path.name!r}{frame}"

    def text(self, keyword: str) -> str:
        """Return an element as text with single spaces; "" if it cannot be read."""
        if keyword not in self._texts:
            try:
                value = self.header.get(keyword)
                text = "" if value is None else " ".join(str(value).split())
            except Exception:  # pydicom has many for malformed elements
                text = ""
            self._texts[keyword] = text
        return self._texts[keyword]

    @property
    def shape(self) -> tuple[int, int]:
        """The number of rows and of columns.

        Raises:
            SeriesError: if one of them is missing or not a number.
        """
        rows, columns = (int(self.numbers(name, 1)[0]) for name in ("Rows", "Columns"))
        return rows, columns

    @property
    def frames(self) -> int | None:
        """The number of frames in the file; None if it is not stated."""
        if not self.raw("NumberOfFrames"):
            return None
        return int(self.numbers("NumberOfFrames", 1)[0])

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """Return an element as finite numbers, of shape `[count]`.

        Raises:
            SeriesError: if it is missing, has another length or is not numeric.
        """
        if self.text(keyword) == "" and not self.raw(keyword):
            raise SeriesError(f"{self.name} has no {keyword}.")
        try:
            value: Any = self.header.get(keyword)
            numbers = np.atleast_1d(np.asarray(value, float))
        except Exception:  # pydicom has many for malformed elements
            raise SeriesError(
                f"{self.name}: {keyword} is not numeric: {self.raw(keyword)!r}."
            ) from None
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise SeriesError(
                f"{self.name}: {keyword} must be {count} finite number"
                f"{'s' if count > 1 else ''}; got {self.raw(keyword)!r}."
            )
        return numbers

    def raw(self, keyword: str) -> str:
        """Return an element as it is in the file; "" if it is missing or empty."""
        try:
            element = self.header.get_item(keyword)
        except Exception:
            return "unreadable"
        value = None if element is None else element.value
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        return "" if text is None else str(text).strip()[:64]
