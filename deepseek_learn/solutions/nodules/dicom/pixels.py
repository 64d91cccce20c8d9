"""Decode a slice's pixels to Hounsfield units: HU = slope * stored + intercept.

Sources: DICOM PS3.3 C.7.6.3 (image pixel), C.7.5.1.1.2 (padding), C.11.1 (modality LUT);
PS3.5 8.1.1 (bits).
"""

import re
import warnings
from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import pixel_array
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from . import codestream
from .files import read_dataset
from .header import SeriesError, Slice

AIR = -1024.0  # HU of the pixels outside the scanner's field of view
TISSUE = (-950.0, 2000.0)  # HU; a padding value must not stand for one of these
GRAY = ("MONOCHROME1", "MONOCHROME2")
PROJECTIONS = {"MIP", "MINIP", "MAXIMUM", "MINIMUM"}
LARGEST = 4096  # pixels along an axis
MAX_HU = 1e6
HUFFMAN = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
MORE_CODE = b"\x12\x34\x56\x78\x9a" * 40
IMAGE = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "PhotometricInterpretation",
)
DESCRIPTION = (  # what must not change between reading the header and the pixels
    "SOPInstanceUID",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "PixelRepresentation",
    "NumberOfFrames",
)


class SliceDecoder:
    """Decodes slices to HU, and collects remarks on them.

    Attributes:
        remarks: what was unusual about the slices decoded so far, one sentence each.
        lossy: the files of the slices that were compressed with loss.
    """

    def __init__(self) -> None:
        self._last: tuple[Path, Dataset] | None = None
        self.remarks: dict[str, None] = {}
        self.lossy: set[Path] = set()

    def hu(self, each: Slice) -> np.ndarray:
        """Return the slice as float32 HU of shape `[Y, X]`.

        Pixels with the slice's padding value, which lie outside the field of view, become
        -1024 HU.

        Raises:
            SeriesError: if the pixels are missing, truncated or cannot be decoded.
        """
        raw, stored = self.stored(each)
        slope, intercept = rescale(each)
        hu = (stored * slope + intercept).astype(np.float32)
        outside = self.padding(each, raw, stored)
        ignored = raw != stored.astype(raw.dtype)
        if outside is not None:
            hu[outside] = AIR
            ignored &= ~outside
        if ignored.any():
            self._remark(
                "Bits of the pixels that are not in use are set; they were ignored."
            )
        return hu

    def stored(self, each: Slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the values as they are stored and as they are meant, `[Y, X]` each.

        The first are unsigned integers with all their bits. In the second, int64, only
        the bits that are in use count.

        Raises:
            SeriesError: as `hu` does.
        """
        dataset = self._dataset(each)
        if not dataset.get("PixelData"):
            raise SeriesError(f"{each.name} has no pixel data.")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._check(each, dataset)
                values = _decode(dataset, each.frame or 0)
                if dataset.file_meta.TransferSyntaxUID in HUFFMAN:
                    _check_end(each, dataset, values)
        except SeriesError:
            raise
        except Exception as error:  # each decoder has its own
            syntax = dataset.file_meta.get("TransferSyntaxUID", "")
            raise SeriesError(
                f"{each.name}: the pixels ({getattr(syntax, 'name', syntax)}) cannot be "
                f"decoded: {_reason(error)}."
            ) from error
        rows, columns = each.shape
        if values.shape != (rows, columns):
            raise SeriesError(
                f"{each.name} states {columns} x {rows} pixels, but the decoded image "
                f"has the shape {values.shape}."
            )
        return _meant(each, values)

    def _dataset(self, each: Slice) -> Dataset:
        if self._last is None or self._last[0] != each.path:
            dataset = read_dataset(each.path, pixels=True)
            if dataset is None:
                raise SeriesError(f"{each.name} has changed while it was being read.")
            self._last = each.path, dataset
        dataset = self._last[1]
        again = Slice(each.path, dataset)
        if any(again.text(name) != each.text(name) for name in DESCRIPTION):
            raise SeriesError(f"{each.name} has changed while it was being read.")
        return dataset

    def _check(self, each: Slice, dataset: Dataset) -> None:
        """Refuse pixels that are fewer, more or of another size than the header states."""
        frames = each.frames or 1
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            pixels = int(dataset.Rows) * int(dataset.Columns) * frames
            expected = pixels * int(dataset.BitsAllocated) // 8
            length = len(dataset.PixelData)
            if not expected <= length <= expected + 1:  # one byte of padding
                raise SeriesError(
                    f"{each.name} states {expected:,} bytes of pixels but has {length:,}."
                )
            return
        code = get_frame(dataset.PixelData, each.frame or 0, number_of_frames=frames)
        facts = codestream.inspect(code)
        if facts is None:
            return
        if not facts.complete:
            raise SeriesError(f"{each.name}: the compressed image breaks off.")
        if facts.images > 1:
            raise SeriesError(
                f"{each.name} holds {facts.images} compressed images but states one frame."
            )
        size = int(dataset.Rows), int(dataset.Columns)
        if size != (facts.rows, facts.columns):
            raise SeriesError(
                f"{each.name} states {size[1]} x {size[0]} pixels, but the compressed "
                f"image has {facts.columns} x {facts.rows}."
            )
        stored, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation) == 1
        if facts.precision > stored or (
            facts.precision != stored and signed and not facts.jpeg_2000
        ):
            raise SeriesError(
                f"{each.name} states {stored} bits per pixel, but the compressed image has "
                f"{facts.precision}."
            )
        if facts.lossy:
            self.lossy.add(each.path)
            self._remark("The images were compressed with loss, so HU are approximate.")

    def padding(
        self, each: Slice, raw: np.ndarray, stored: np.ndarray
    ) -> np.ndarray | None:
        """Return which pixels are padding, or None if there is no padding value."""
        if not each.text("PixelPaddingValue"):
            return None
        bits = 8 * raw.dtype.itemsize
        value = int(each.numbers("PixelPaddingValue", 1)[0])
        if each.text("PixelPaddingRangeLimit"):
            limit = int(each.numbers("PixelPaddingRangeLimit", 1)[0])
        else:
            limit = value
        if each.text("PixelRepresentation") == "1":  # some write -2000 as 63536
            half = 2 ** (bits - 1)
            value, limit = ((v + half) % 2**bits - half for v in (value, limit))
        low, high = sorted((value, limit))
        slope, intercept = rescale(each)
        ends = low * slope + intercept, high * slope + intercept
        if ends[0] < TISSUE[1] and ends[1] > TISSUE[0]:
            self._remark(
                f"PixelPaddingValue stands for {ends[0]:.5g} to {ends[1]:.5g} HU, which "
                f"tissue has as well; it was ignored."
            )
            return None
        # some use bits for padding that are not in use for pixels
        return ((stored >= low) & (stored <= high)) | (raw == value % 2**bits)

    def _remark(self, text: str) -> None:
        self.remarks[text] = None


def _meant(each: Slice, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    bits = 8 * values.dtype.itemsize
    raw = values.astype(f"u{values.dtype.itemsize}")
    unused = bits - int(each.numbers("BitsStored", 1)[0])
    signed = each.text("PixelRepresentation") == "1"
    kind = f"{'i' if signed else 'u'}{values.dtype.itemsize}"
    meant = (raw.astype(kind) << unused) >> unused
    return raw, meant.astype(np.int64)


def _decode(dataset: Dataset, frame: int) -> np.ndarray:
    """Return the values of a frame with all their bits, `[Y, X]`."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated:
        # CharLS refuses damaged JPEG-LS images that other decoders fill
        near = syntax in (JPEGLSLossless, JPEGLSNearLossless)
        plugin = "pyjpegls" if near else ""
        return pixel_array(dataset, index=frame, raw=True, decoding_plugin=plugin)
    order = "<" if syntax.is_little_endian else ">"
    kind = f"{order}u{int(dataset.BitsAllocated) // 8}"
    shape = int(dataset.Rows), int(dataset.Columns)
    size = shape[0] * shape[1]
    content = dataset.PixelData
    if kind == ">u1" and dataset["PixelData"].VR == "OW":  # words of two pixels
        content = np.frombuffer(content, np.uint16).byteswap().tobytes()
    # pydicom would clear the bits that are not in use
    values = np.frombuffer(content, kind, size, frame * size * int(kind[2:]))
    return values.reshape(shape)


def _check_end(each: Slice, dataset: Dataset, values: np.ndarray) -> None:
    """Refuse a JPEG image whose code ends before its last pixel.

    A decoder fills what is missing. If more code is put in front of the end marker, a
    complete image stays the same, but one that broke off does not.
    """
    frames = each.frames or 1
    code = get_frame(dataset.PixelData, each.frame or 0, number_of_frames=frames)
    end = code.rfind(codestream.END)
    longer = code[:end] + MORE_CODE + code[end:]
    again = Dataset()
    again.file_meta = dataset.file_meta
    for name in IMAGE:
        again[name] = dataset[name]
    again.NumberOfFrames = 1
    again.PixelData = encapsulate([longer + b"\0" * (len(longer) % 2)])
    try:
        complete = np.array_equal(_decode(again, 0), values)
    except Exception:  # more code than pixels is no error, so these are pixels
        complete = False
    if not complete:
        raise SeriesError(f"{each.name}: the compressed image breaks off.")


def rescale(each: Slice) -> tuple[float, float]:
    """Return the slope and the intercept of a slice."""
    slope, intercept = (
        float(each.numbers(f"Rescale{name}", 1)[0]) for name in ("Slope", "Intercept")
    )
    return slope, intercept


def check(each: Slice) -> None:
    """Refuse a slice whose pixels would not be gray values in HU.

    Raises:
        SeriesError: with what is wrong.
    """
    rows, columns = each.shape
    if not (0 < rows <= LARGEST and 0 < columns <= LARGEST):
        raise SeriesError(
            f"{each.name} states {columns} x {rows} pixels; at most {LARGEST} along each "
            f"axis are accepted."
        )
    kind = each.text("PhotometricInterpretation")
    if kind.upper() not in GRAY or each.text("SamplesPerPixel") != "1":
        raise SeriesError(
            f"{each.name} is not a gray-scale image but {kind or 'of an unknown kind'}."
        )
    if not each.text("RescaleSlope") or not each.text("RescaleIntercept"):
        for name in ("RescaleSlope", "RescaleIntercept"):
            if each.raw(name):
                each.numbers(name, 1)  # says what is wrong with it
        raise SeriesError(
            f"{each.name} has no RescaleSlope and RescaleIntercept: its values cannot be "
            f"converted to HU."
        )
    slope, intercept = rescale(each)
    if slope <= 0 or slope > MAX_HU or abs(intercept) > MAX_HU:
        raise SeriesError(
            f"{each.name}: RescaleSlope must be positive, and both it and RescaleIntercept "
            f"less than {MAX_HU:.0e}; got {slope:g} and {intercept:g}."
        )
    unit = each.text("RescaleType").upper()
    if unit not in ("", "HU"):
        raise SeriesError(
            f"{each.name}: its values are not in HU (RescaleType {unit!r})."
        )
    if "ModalityLUTSequence" in each.header:
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


def _reason(error: Exception) -> str:
    """Return an error's most specific line as part of a sentence."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[min(1, len(lines) - 1)].strip().rstrip(".:")


def _words(each: Slice, keyword: str) -> set[str]:
    return set(re.findall(r"\w+", each.text(keyword).upper()))


def remarks(slices: list[Slice]) -> list[str]:
    """Return what the headers say about the pixels that is unusual."""
    notes = []
    if any(each.text("LossyImageCompression") == "01" for each in slices):
        notes.append(
            "The images were once compressed with loss, so HU are approximate."
        )
    if any(PROJECTIONS & _words(each, "ImageType") for each in slices):
        notes.append(
            "The images are projections of thick slabs (ImageType), not slices."
        )
    if any(each.text("PhotometricInterpretation") == "MONOCHROME1" for each in slices):
        notes.append(
            "The images are displayed inverted (MONOCHROME1); HU are unaffected."
        )
    return notes
