"""Decode a slice's pixels to Hounsfield units: HU = slope * stored + intercept.

Sources: DICOM PS3.3 C.7.6.3 (image pixel), C.11.1 (modality LUT); PS3.5 8.1.1 (bits).
"""

import warnings
from collections import OrderedDict
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import pixel_array

from .files import SeriesError, Slice, read_dataset

AIR = -1024.0  # HU of the pixels outside the scanner's field of view
GRAY = ("MONOCHROME1", "MONOCHROME2")
LARGEST = 4096  # pixels along an axis
END_OF_IMAGE = b"\xff\xd9"  # of JPEG, JPEG-LS and JPEG 2000
LOSSY = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
    "1.2.840.10008.1.2.4.81": "near-lossless JPEG-LS",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}


class Decoder:
    """Decodes slices to HU; keeps the last multi-frame file open."""

    def __init__(self) -> None:
        self._files: OrderedDict[Path, Dataset] = OrderedDict()

    def hu(self, each: Slice) -> np.ndarray:
        """Return the slice as float32 HU of shape `[Y, X]`.

        Pixels with the slice's padding value, which lie outside the field of view, become
        -1024 HU.

        Raises:
            SeriesError: if the pixels are missing, truncated or cannot be decoded.
        """
        stored = self._stored(each)
        slope, intercept = (
            each.numbers(f"Rescale{name}", 1)[0] for name in ("Slope", "Intercept")
        )
        hu = (stored * slope + intercept).astype(np.float32)
        outside = _padding(each, stored)
        if outside is not None:
            hu[outside] = AIR
        return hu

    def _stored(self, each: Slice) -> np.ndarray:
        """Return the stored values, in which only the bits that are in use count."""
        dataset = self._dataset(each)
        if "PixelData" not in dataset:
            raise SeriesError(f"{each.name} has no pixel data.")
        _check_length(each, dataset)
        syntax = dataset.file_meta.TransferSyntaxUID
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                values = pixel_array(dataset, index=each.frame, raw=True)
        except Exception as error:  # each decoder has its own
            raise SeriesError(
                f"{each.name}: the pixels ({syntax.name}) cannot be decoded: "
                f"{_reason(error)}."
            ) from error
        shape = int(dataset.Rows), int(dataset.Columns)
        if values.shape != shape:
            raise SeriesError(
                f"{each.name} states {shape[1]} x {shape[0]} pixels, but the decoded "
                f"image has the shape {values.shape}."
            )
        signed = int(dataset.PixelRepresentation) == 1
        kind = f"{'i' if signed else 'u'}{values.dtype.itemsize}"
        unused = 8 * values.dtype.itemsize - int(dataset.BitsStored)
        return ((values.astype(kind) << unused) >> unused).astype(np.float64)

    def _dataset(self, each: Slice) -> Dataset:
        if each.path not in self._files:
            self._files.clear()
            dataset = read_dataset(each.path, pixels=True)
            if dataset is None:
                raise SeriesError(f"{each.name} has changed while it was being read.")
            self._files[each.path] = dataset
        return self._files[each.path]


def check(each: Slice) -> None:
    """Refuse a slice whose pixels would not be gray values in HU.

    Raises:
        SeriesError: with what is wrong.
    """
    rows, columns = (int(each.numbers(name, 1)[0]) for name in ("Rows", "Columns"))
    if not (0 < rows <= LARGEST and 0 < columns <= LARGEST):
        raise SeriesError(
            f"{each.name} states {columns} x {rows} pixels; at most {LARGEST} along each "
            f"axis are accepted."
        )
    kind = each.text("PhotometricInterpretation")
    if kind not in GRAY or each.text("SamplesPerPixel") not in ("", "1"):
        raise SeriesError(
            f"{each.name} is not a gray-scale image but {kind or 'of an unknown kind'}."
        )
    if "RescaleSlope" not in each.header or "RescaleIntercept" not in each.header:
        raise SeriesError(
            f"{each.name} has no RescaleSlope and RescaleIntercept: its values cannot be "
            f"converted to HU."
        )
    if each.numbers("RescaleSlope", 1)[0] == 0:
        raise SeriesError(f"{each.name}: RescaleSlope is 0.")
    unit = each.text("RescaleType")
    if unit not in ("", "HU"):
        raise SeriesError(
            f"{each.name}: its values are not in HU (RescaleType {unit!r})."
        )
    if each.header.get("ModalityLUTSequence"):
        raise SeriesError(f"{each.name} converts its values by a table (Modality LUT).")
    _check_bits(each)


def _check_bits(each: Slice) -> None:
    names = ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation")
    allocated, stored, high, signed = (int(each.numbers(name, 1)[0]) for name in names)
    possible = 0 < stored <= allocated and high == stored - 1 and signed in (0, 1)
    if allocated not in (8, 16, 32) or not possible:
        raise SeriesError(
            f"{each.name}: BitsAllocated {allocated}, BitsStored {stored}, HighBit {high} "
            f"and PixelRepresentation {signed} contradict each other."
        )


def _check_length(each: Slice, dataset: Dataset) -> None:
    """Refuse pixels that are fewer or more than the header states.

    Decoders fill a JPEG-LS image that breaks off, without a word.
    """
    frames = int(dataset.get("NumberOfFrames") or 1)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        code = get_frame(dataset.PixelData, each.frame or 0, number_of_frames=frames)
        if code[:1] == b"\xff" and code.rstrip(b"\0")[-2:] != END_OF_IMAGE:
            raise SeriesError(f"{each.name}: the compressed image breaks off.")
        return
    pixels = int(dataset.Rows) * int(dataset.Columns) * frames
    expected = pixels * int(dataset.BitsAllocated) // 8
    length = len(dataset.PixelData)
    if not expected <= length <= expected + 1:  # one byte of padding
        raise SeriesError(
            f"{each.name} states {expected:,} bytes of pixels but has {length:,}."
        )


def _reason(error: Exception) -> str:
    """Return an error's most specific line as part of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[min(1, len(lines) - 1)].strip().rstrip(".:")


def _padding(each: Slice, stored: np.ndarray) -> np.ndarray | None:
    """Return which pixels are padding, or None if the slice has no padding value."""
    value = _stored_value(each, "PixelPaddingValue")
    if value is None:
        return None
    limit = _stored_value(each, "PixelPaddingRangeLimit")
    ends = sorted((value, value if limit is None else limit))
    return (stored >= ends[0]) & (stored <= ends[1])


def _stored_value(each: Slice, keyword: str) -> int | None:
    """Return an element that holds a stored value, with the sign that the pixels have.

    Some scanners write a negative value as an unsigned number.
    """
    if each.header.get(keyword) in (None, ""):
        return None
    value = int(each.numbers(keyword, 1)[0])
    bits = int(each.numbers("BitsAllocated", 1)[0])
    if each.text("PixelRepresentation") == "1":
        return (value + 2 ** (bits - 1)) % 2**bits - 2 ** (bits - 1)
    return value % 2**bits


def remarks(slices: list[Slice]) -> list[str]:
    """Return what is unusual about the pixels of a series."""
    result = []
    syntaxes = {each.header.file_meta.TransferSyntaxUID for each in slices}
    names = sorted(LOSSY[syntax] for syntax in syntaxes if syntax in LOSSY)
    if names or any(s.text("LossyImageCompression") == "01" for s in slices):
        how = f" ({', '.join(names)})" if names else ""
        result.append(f"The images were compressed with loss{how}: HU are approximate.")
    if any(s.text("PhotometricInterpretation") == "MONOCHROME1" for s in slices):
        result.append(
            "The images are displayed inverted (MONOCHROME1); HU are unaffected."
        )
    return result
