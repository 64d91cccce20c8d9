"""Read CT series from DICOM files, exactly or not at all.

`load_series(folder)` returns Hounsfield units with their geometry. What cannot be read
with certainty is refused with the reason; two kinds of damage are repaired on request.
Lesson: `notebooks/practical/06_read_a_ct.ipynb`.
"""

from ..volume import Volume
from .anonymize import Anonymization, anonymize
from .header import SeriesError
from .series import SeriesInfo, list_series, load_series

__all__ = [
    "Anonymization",
    "SeriesError",
    "SeriesInfo",
    "Volume",
    "anonymize",
    "list_series",
    "load_series",
]
