"""Find the DICOM files in a folder and read their headers, one per slice.

A multi-frame (enhanced) file becomes one header per frame, so that everything after this
module sees single slices.
"""

import os
import stat
import warnings
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    LegacyConvertedEnhancedCTImageStorage,
    MediaStorageDirectoryStorage,
)

from .header import SeriesError, Slice

MULTI_FRAME = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
CT = (CTImageStorage, *MULTI_FRAME)
INFLATED = 2**28  # bytes; a deflated file may not expand to more than 256 MiB
MAX_FRAMES = 10_000
GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@dataclass(frozen=True, eq=False)
class Contents:
    """What a folder holds.

    Attributes:
        others: the names of files that are not DICOM.
        links: the names of links that were not followed.
        damaged: damaged DICOM files, with the reason.
        catalogued: the images that a DICOMDIR lists, as `place` names them.
    """

    slices: list[Slice]
    others: list[str]
    links: list[str]
    damaged: dict[Path, str]
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
    contents = Contents([], [], [], {}, set())
    for path in _files(folder, contents.links):
        try:
            dataset = read_dataset(path)
            if dataset is None:
                contents.others.append(path.name)
            elif _sop_class(dataset) == MediaStorageDirectoryStorage:
                contents.catalogued.update(_catalog(path, dataset))
            else:
                contents.slices.extend(_slices(path, dataset))
        except SeriesError as error:
            contents.damaged[path] = str(error)
        except Exception as error:  # pydicom has many for malformed elements
            contents.damaged[path] = f"{path.name!r} is damaged: {error}."
    return contents


def _files(folder: Path, links: list[str]) -> list[Path]:
    """Return the files in a folder; links that are not followed are added to a list."""
    if folder.is_file():
        return [folder]
    paths = []
    for place, folders, names in os.walk(folder, onerror=_refuse):
        links += [name for name in folders if Path(place, name).is_symlink()]
        for path in (Path(place, name) for name in names):
            try:
                if stat.S_ISREG(path.stat().st_mode):
                    paths.append(path)
            except FileNotFoundError:
                links.append(path.name)
            except OSError as error:
                _refuse(error)
    return sorted(paths)


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
            start = file.read(1024)
            conforming = start[128:132] == b"DICM"
            if not conforming and not _looks_like_dicom(start):
                return None
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset = _read(path, start, conforming, pixels)
    except OSError as error:
        if error.strerror is None:  # pydicom's own
            raise SeriesError(f"{path.name!r} is damaged: {error}.") from error
        raise SeriesError(f"{path.name!r} cannot be read: {error.strerror}.") from error
    except SeriesError:
        raise
    except Exception as error:  # pydicom has many for malformed elements
        raise SeriesError(f"{path.name!r} is damaged: {error}.") from error
    if conforming or _sop_class(dataset) is not None:
        _check_identity(path, dataset)
        return dataset
    return None  # it only looked like a file without preamble


def _check_identity(path: Path, dataset: Dataset) -> None:
    """Refuse a file that breaks off before it says what it is."""
    stated = dataset.get("SOPClassUID")
    announced = dataset.file_meta.get("MediaStorageSOPClassUID")
    if _sop_class(dataset) == MediaStorageDirectoryStorage:
        return
    if not stated or not dataset.get("SOPInstanceUID"):
        raise SeriesError(
            f"{path.name!r} is damaged: it does not say what it is (no SOPClassUID or "
            f"SOPInstanceUID)."
        )
    if announced and announced != stated:
        raise SeriesError(
            f"{path.name!r} is damaged: its SOPClassUID is {stated!r} and "
            f"{announced!r} at the same time."
        )


def _looks_like_dicom(start: bytes) -> bool:
    """Return whether a file without preamble starts with an element of group 2 or 8."""
    return len(start) > 8 and start[:2] in (b"\x02\0", b"\x08\0") and start[3] == 0


def _read(path: Path, start: bytes, conforming: bool, pixels: bool) -> Dataset:
    source: Path | BytesIO = path
    if conforming and DeflatedExplicitVRLittleEndian.encode() in start:
        syntax = read_file_meta_info(path).get("TransferSyntaxUID")
        if syntax == DeflatedExplicitVRLittleEndian:
            source = _inflate(path)
    try:
        dataset = dcmread(source, stop_before_pixels=not pixels, force=not conforming)
    except InvalidDicomError as error:
        raise SeriesError(f"{path.name!r} is damaged: {error}") from error
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        syntax = plain if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = syntax
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


def place(path: Path) -> str:
    """Return a path for comparisons; a CD may be mounted in lower case."""
    return os.path.abspath(path).upper()


def _catalog(path: Path, directory: Dataset) -> Iterator[str]:
    """Yield the places of the images that a DICOMDIR lists."""
    for record in directory.get("DirectoryRecordSequence") or ():
        file_id = record.get("ReferencedFileID")
        if file_id and record.get("DirectoryRecordType") == "IMAGE":
            parts = [file_id] if isinstance(file_id, str) else list(file_id)
            yield place(path.parent.joinpath(*map(str, parts)))


def _slices(path: Path, dataset: Dataset) -> Iterator[Slice]:
    whole = Slice(path, dataset)
    if _sop_class(dataset) not in MULTI_FRAME:
        yield whole
        return
    frames = whole.frames or 1
    if not 1 <= frames <= MAX_FRAMES:
        raise SeriesError(f"{path.name!r}: NumberOfFrames is {frames}.")
    shared, each = (dataset.get(group) or () for group in GROUPS)
    if len(shared) > 1:
        raise SeriesError(
            f"{path.name!r} describes what its frames share more than once."
        )
    if len(each) != frames:
        raise SeriesError(
            f"{path.name!r} describes {len(each)} frames; NumberOfFrames is {frames}."
        )
    for index, own in enumerate(each):
        yield Slice(path, _frame(dataset, [*shared, own]), index)


def _frame(dataset: Dataset, groups: list[Dataset]) -> Dataset:
    """Return one frame's header as that of a single slice."""
    header = Dataset()
    header.file_meta = dataset.file_meta
    shared_tags = {tag_for_keyword(name) for name in GROUPS}
    for tag in dataset.keys():  # noqa: SIM118 - iterating would decode all elements
        if tag not in shared_tags:
            header[tag] = dataset.get_item(tag)
    for group in groups:
        for sequence in group:
            # a maker's private sequence may repeat elements with another meaning
            if sequence.VR == "SQ" and sequence.value and not sequence.tag.is_private:
                item = sequence.value[0]
                for tag in item.keys():  # noqa: SIM118
                    header[tag] = item.get_item(tag)
    frame_type = header.get("FrameType")
    if frame_type:
        header.add(DataElement("ImageType", "CS", list(frame_type)))
    return header
