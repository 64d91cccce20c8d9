"""Folders that are easily misread, each with its right answer.

The tests hold the reader to them, and `benchmarks/dicom_readers.py` gives them to other
readers as well.
"""

from . import enhanced, files, geometry, mixtures, order, pixels  # they register traps
from .trap import Trap, Truth, phantom, save, series, traps

__all__ = [
    "Trap",
    "Truth",
    "enhanced",
    "files",
    "geometry",
    "mixtures",
    "order",
    "phantom",
    "pixels",
    "save",
    "series",
    "traps",
]
