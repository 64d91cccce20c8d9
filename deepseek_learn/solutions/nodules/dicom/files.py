"""Find the DICOM files in a folder and read their headers, one per slice.

A multi-frame (enhanced) file becomes one header per frame, so that everything after this
module sees single slices.
"""

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from ....errors import DeepSeekLearnError

MULTI_FRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
CT = (CTImageStorage, *MULTI_FRAME)
INFLATED = 2**28  # bytes; a deflated file may not expand to more than 256 MiB
MAX_FRAMES = 10_000
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


class SeriesError(DeepSeekLearnError, ValueError):
    """Raised for a series that cannot be read with certainty; the message says why."""


@dataclass(frozen=True, eq=False)
class Slice:
    """One image of a series: its header, and where its pixels are.

    Attributes:
        header: the elements of this image, without pixels.
        frame: the index of the frame in a multi-frame file; None in other files.
    """

    path: Path
    header: Dataset
    frame: int | None = None

    @property
    def name(self) -> str:
        """The name of the file, with the number of the frame where there are several."""
        frame = "" if self.frame is None else f", frame {self.frame + 1}"
        return f"{self.path.name!r}{frame}"

    def text(self, keyword: str) -> str:
        """Return an element as text; "" if it is missing, empty or unreadable."""
        try:
            value = self.header.get(keyword)
        except (ValueError, TypeError):
            return ""
        return "" if value is None else str(value).strip()

    def numbers(self, keyword: str, count: int) -> np.ndarray:
        """Return an element as finite numbers, of shape `[count]`.

        Raises:
            SeriesError: if it is missing, has another length or is not numeric.
        """
        if self.text(keyword) == "" and not self._raw(keyword):
            raise SeriesError(f"{self.name} has no {keyword}.")
        try:
            value: Any = self.header.get(keyword)
            numbers = np.atleast_1d(np.asarray(value, float))
        except (ValueError, TypeError, OverflowError):
            raise SeriesError(
                f"{self.name}: {keyword} is not numeric: {self._raw(keyword)!r}."
            ) from None
        if numbers.shape != (count,) or not np.isfinite(numbers).all():
            raise SeriesError(
                f"{self.name}: {keyword} must be {count} finite number"
                f"{'s' if count > 1 else ''}; got {self._raw(keyword)!r}."
            )
        return numbers

    def _raw(self, keyword: str) -> str:
        """Return an element as it is in the file; "" if it is missing or empty."""
        element = self.header.get_item(keyword)
        value = None if element is None else element.value
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        return "" if text is None else str(text).strip()[:64]


@dataclass(frozen=True, eq=False)
class Contents:
    """What a folder holds: slices, the names of other files, and unreadable DICOM files."""

    slices: list[Slice]
    others: list[str]
    damaged: dict[str, str]
    catalogued: set[str]

    @property
    def empty(self) -> bool:
        return not (self.slices or self.others or self.damaged)


def read_folder(folder: str | Path) -> Contents:
    """Read the headers of all DICOM files in a folder and its subfolders.

    Args:
        folder: a folder, or a single file.

    Raises:
        FileNotFoundError: if the folder does not exist.
        SeriesError: if a file or folder may not be read.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"{str(folder)!r} does not exist.")
    contents = Contents([], [], {}, set())
    for path in _files(folder):
        try:
            dataset = read_dataset(path)
            if dataset is None:
                contents.others.append(path.name)
            elif _sop_class(dataset) == MediaStorageDirectoryStorage:
                contents.catalogued.update(_catalog(dataset))
            else:
                contents.slices.extend(_slices(path, dataset))
        except SeriesError as error:
            contents.damaged[path.name] = str(error)
    return contents


def _files(folder: Path) -> list[Path]:
    if folder.is_file():
        return [folder]
    return sorted(
        Path(place, name)
        for place, _, names in os.walk(folder, onerror=_refuse)
        for name in names
        if Path(place, name).is_file()
    )


def _refuse(error: OSError) -> None:
    raise SeriesError(
        f"{error.filename!r} cannot be read: {error.strerror}."
    ) from error


def read_dataset(path: Path, pixels: bool = False) -> Dataset | None:
    """Read a DICOM file; None if it is a file of another kind.

    Args:
        pixels: whether to read the pixels, too.

    Raises:
        SeriesError: if the file is a damaged DICOM file, may not be read, or is a deflated
            file that would expand to more than 256 MiB.
    """
    try:
        with path.open("rb") as file:
            start = file.read(132)
            conforming = start[128:] == b"DICM"
            if not conforming and not _looks_like_dicom(start):
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _read(path, conforming, pixels)
    except OSError as error:
        if error.strerror is None:  # pydicom's own
            raise SeriesError(f"{path.name!r} is damaged: {error}.") from error
        raise SeriesError(f"{path.name!r} cannot be read: {error.strerror}.") from error
    except SeriesError:
        raise
    except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise SeriesError(f"{path.name!r} is damaged: {error}.") from error
    except (struct.error, zlib.error, NotImplementedError, RecursionError) as error:
        raise SeriesError(f"{path.name!r} is damaged: {error}.") from error


def _looks_like_dicom(start: bytes) -> bool:
    """Return whether a file without preamble starts with an element of group 2 or 8."""
    return len(start) > 8 and start[:2] in (b"\x02\0", b"\x08\0") and start[3] == 0


def _read(path: Path, conforming: bool, pixels: bool) -> Dataset:
    source: Path | BytesIO = path
    if conforming:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian:
            source = _inflate(path)
    try:
        dataset = dcmread(source, stop_before_pixels=not pixels, force=not conforming)
    except InvalidDicomError as error:
        raise SeriesError(f"{path.name!r} is damaged: {error}") from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        )
    if _sop_class(dataset) is None:
        raise SeriesError(
            f"{path.name!r} is damaged: it does not say what it is (no SOPClassUID)."
        )
    return dataset


def _inflate(path: Path) -> BytesIO:
    """Return the file with its dataset inflated, up to a limit."""
    content = path.read_bytes()
    # the meta information is not deflated; its first element states its length
    start = 128 + 4 + 12 + int.from_bytes(content[140:144], "little")
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = stream.decompress(content[start:], INFLATED)
    if stream.unconsumed_tail:
        raise SeriesError(
            f"{path.name!r} expands to more than {INFLATED >> 20} MiB and was not read."
        )
    if not stream.eof:
        raise SeriesError(f"{path.name!r} is damaged: the deflated data end too early.")
    plain = ExplicitVRLittleEndian.encode()
    deflated = DeflatedExplicitVRLittleEndian.encode()
    meta = content[:start]
    at = meta.find(deflated)
    # same length with its padding, so that nothing else moves
    meta = meta[:at] + plain.ljust(len(deflated), b"\0") + meta[at + len(deflated) :]
    return BytesIO(meta + inflated)


def _sop_class(dataset: Dataset) -> str | None:
    return dataset.get("SOPClassUID") or dataset.file_meta.get(
        "MediaStorageSOPClassUID"
    )


def _catalog(directory: Dataset) -> Iterator[str]:
    """Yield the names of the images that a DICOMDIR lists."""
    for record in directory.get("DirectoryRecordSequence") or ():
        file_id = record.get("ReferencedFileID")
        if file_id and record.get("DirectoryRecordType") == "IMAGE":
            parts = [file_id] if isinstance(file_id, str) else list(file_id)
            yield str(parts[-1])


def _slices(path: Path, dataset: Dataset) -> Iterator[Slice]:
    frames = int(dataset.get("NumberOfFrames") or 1)
    if _sop_class(dataset) not in MULTI_FRAME:
        if frames > 1 and dataset.get("Modality") == "CT":
            dataset.NumberOfFrames = frames  # refused later, if it is chosen
        yield Slice(path, dataset)
        return
    if not 1 <= frames <= MAX_FRAMES:
        raise SeriesError(f"{path.name!r}: NumberOfFrames is {frames}.")
    shared, each = (dataset.get(group) or () for group in GROUPS)
    if len(each) != frames:
        raise SeriesError(
            f"{path.name!r} has {frames} frames but describes {len(each)} of them."
        )
    for index, own in enumerate(each):
        yield Slice(path, _frame(dataset, [*shared, own]), index)


def _frame(dataset: Dataset, groups: list[Dataset]) -> Dataset:
    """Return one frame's header as that of a single slice."""
    header = Dataset()
    header.file_meta = dataset.file_meta
    for element in dataset:
        if element.keyword not in GROUPS:
            header.add(element)
    for group in groups:
        for sequence in group:
            if sequence.VR == "SQ" and sequence.value:
                for element in sequence.value[0]:
                    header.add(element)
    frame_type = header.get("FrameType")
    if frame_type:
        header.ImageType = frame_type
    return header
