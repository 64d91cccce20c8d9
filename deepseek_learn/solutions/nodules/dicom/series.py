"""Load one CT series from a folder of DICOM files, exactly or not at all.

Lesson: `notebooks/practical/06_read_a_ct.ipynb`.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..volume import Volume
from . import geometry, mixture
from .files import CT, Contents, place, read_folder
from .header import SeriesError, Slice
from .pixels import SliceDecoder, check, remarks

MIN_SLICES = 3
NO_AIR, NO_TISSUE = -500, -200  # HU


@dataclass(frozen=True)
class SeriesInfo:
    """A CT series in a folder.

    Attributes:
        uid: the SeriesInstanceUID.
        description: the SeriesDescription, often empty.
        slices: the number of slices.
    """

    uid: str
    description: str
    slices: int


def list_series(folder: str | Path) -> list[SeriesInfo]:
    """Return the CT series in a folder, sorted by UID. Damaged files are not counted.

    Raises:
        FileNotFoundError: if the folder does not exist.
        SeriesError: if a file or folder may not be read.
    """
    series = by_series(images(read_folder(folder)))
    return [
        SeriesInfo(uid, slices[0].text("SeriesDescription"), len(slices))
        for uid, slices in sorted(series.items())
    ]


def load_series(
    folder: str | Path,
    *,
    series_uid: str | None = None,
    gaps: str = "refuse",
    tilt: str = "refuse",
) -> Volume:
    """Read a CT series as Hounsfield units with their geometry.

    Args:
        folder: a folder with the files of the series, in any order and in subfolders, or
            a single enhanced (multi-frame) file.
        series_uid: which series to read; needed if the folder contains several.
        gaps: "refuse" a series with missing or unevenly spaced slices, or "interpolate"
            (linearly, gaps of up to 10 mm).
        tilt: "refuse" a series scanned with a tilted gantry, or "resample" it (shift the
            slices within their planes).

    Raises:
        FileNotFoundError: if the folder does not exist.
        SeriesError: if there is no CT series or more than one, if a file is damaged, or if
            the volume would not be certain: the message names the file and the element.
        ValueError: if `gaps` or `tilt` has another value.
    """
    _check_option("gaps", gaps, ("refuse", "interpolate"))
    _check_option("tilt", tilt, ("refuse", "resample"))
    contents = read_folder(folder)
    slices, notes = choose(contents, folder, series_uid)
    for each in slices:
        check(each)
    mixed = mixture.check(slices)
    decoder = SliceDecoder()
    stack = geometry.arrange(slices)
    stack, duplicates = geometry.without_duplicates(stack, decoder)
    mixture.check_instances(stack.slices)
    mixture.check_numbering(stack.slices)
    if len(stack.slices) < MIN_SLICES:
        raise SeriesError(
            f"The series has {len(stack.slices)} slices; a volume needs at least "
            f"{MIN_SLICES}."
        )
    angle, uneven = geometry.shear(stack), geometry.unevenness(stack)
    if angle and tilt == "refuse":
        raise SeriesError(
            f"The gantry was tilted by {angle:.1f} degrees, so the slices are sheared; "
            f'tilt="resample" straightens them.'
        )
    if uneven and gaps == "refuse":
        raise SeriesError(f'The {uneven}; gaps="interpolate" fills gaps.')
    geometry.check_size(len(stack.slices), *slices[0].shape)
    hu = np.stack([decoder.hu(each) for each in stack.slices])
    spacing, straight = stack.spacing_mm, stack
    if angle:
        straight, hu = geometry.straighten(stack, hu)
        notes.append(
            f"A gantry tilt of {angle:.1f} degrees was corrected by resampling."
        )
    if uneven:
        hu, spacing = geometry.fill_gaps(straight, hu)
        notes.append(f"The {uneven}: interpolated linearly.")
    notes += [*mixed, *duplicates, *decoder.remarks, *remarks(slices)]
    notes += _headers(stack, spacing, angle) + _values(hu)
    return Volume(
        hu=hu,
        spacing_mm=(spacing, *stack.pixel_mm),
        origin_mm=tuple(map(float, straight.points[0])),  # type: ignore[arg-type]
        directions=stack.axes,
        series_uid=slices[0].text("SeriesInstanceUID"),
        warnings=tuple(notes),
        headers=[each.header for each in stack.slices],
        files=[each.path for each in stack.slices],
    )


def _check_option(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        accepted = " or ".join(map(repr, choices))
        raise ValueError(f"{name} must be {accepted}; got {value!r}.")


def choose(
    contents: Contents, folder: str | Path, series_uid: str | None
) -> tuple[list[Slice], list[str]]:
    """Return the slices of one series, and remarks on what was left out.

    Raises:
        SeriesError: if there is no such series, if there are several and none was chosen,
            or if a file is damaged, since it may be one of the slices.
    """
    if contents.damaged:
        first = next(iter(contents.damaged.values()))
        more = len(contents.damaged) - 1
        others = f" ({more} other file{'s' * (more > 1)} as well.)" if more else ""
        raise SeriesError(first + others)
    slices = images(contents)
    for each in slices:
        if not each.text("SeriesInstanceUID"):
            raise SeriesError(f"{each.name} is damaged: it has no SeriesInstanceUID.")
    series = by_series(slices)
    if not series:
        raise SeriesError(_nothing(contents, folder))
    if series_uid is None and len(series) > 1:
        raise SeriesError(
            f"{str(folder)!r} contains {len(series)} CT series; choose one with "
            f"series_uid: {_listed(series)}."
        )
    uid = series_uid if series_uid is not None else next(iter(series))
    if uid not in series:
        raise SeriesError(
            f"{str(folder)!r} contains no CT series {uid!r}; it contains {_listed(series)}."
        )
    return series[uid], _left_out(contents)


def images(contents: Contents) -> list[Slice]:
    """Return the slices of CT volumes, without localizers."""
    return [each for each in contents.slices if _kind(each) == "CT"]


def _kind(each: Slice) -> str:
    """Return "CT" for a slice of a CT volume, or a word for what it is instead."""
    header = each.header
    sop_class = header.get("SOPClassUID") or header.file_meta.MediaStorageSOPClassUID
    modality = each.text("Modality")
    if sop_class not in CT or modality not in ("CT", ""):
        return modality if modality and modality != "CT" else "other"
    image_type = each.text("ImageType").upper()
    if "LOCALIZER" in image_type or "SCOUT" in image_type:
        return "localizer"
    return "CT"


def by_series(slices: Iterable[Slice]) -> dict[str, list[Slice]]:
    """Return slices by their SeriesInstanceUID."""
    series: dict[str, list[Slice]] = {}
    for each in slices:
        series.setdefault(each.text("SeriesInstanceUID"), []).append(each)
    return series


def _listed(series: dict[str, list[Slice]]) -> str:
    return "; ".join(
        f"{uid} ({len(slices)} slices, {slices[0].text('SeriesDescription') or 'unnamed'})"
        for uid, slices in sorted(series.items())
    )


def _nothing(contents: Contents, folder: str | Path) -> str:
    if contents.empty:
        return f"{str(folder)!r} contains no file."
    if not contents.slices:
        return f"{str(folder)!r} contains no DICOM image."
    kinds = Counter(_kind(each) for each in contents.slices)
    counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    return f"{str(folder)!r} contains no CT slice, only: {counts}."


def _left_out(contents: Contents) -> list[str]:
    notes = []
    kinds = Counter(_kind(each) for each in contents.slices)
    del kinds["CT"]
    if kinds:
        counts = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        notes.append(f"DICOM objects that are not slices were left out: {counts}.")
    for names, words in (
        (contents.others, "Files that are not DICOM"),
        (contents.links, "Linked folders and links that lead nowhere"),
    ):
        if names:
            notes.append(f"{words} were left out: {mixture.some(names)}.")
    missing = contents.catalogued - {place(each.path) for each in contents.slices}
    if missing:
        notes.append(f"The DICOMDIR lists {len(missing)} images that are not there.")
    return notes


def _headers(stack: geometry.Stack, spacing: float, angle: float) -> list[str]:
    """Return remarks on headers that contradict the positions of the slices."""
    notes, first = [], stack.slices[0]
    thicknesses = {each.text("SliceThickness") for each in stack.slices} - {""}
    if len(thicknesses) > 1:
        notes.append(f"SliceThickness differs: {', '.join(sorted(thicknesses))} mm.")
    thickness = _number(first, "SliceThickness")
    if thickness and spacing > 1.5 * thickness:
        notes.append(
            f"Slices of {thickness:g} mm are {spacing:.2f} mm apart: there is tissue "
            f"between them that no slice shows."
        )
    stated = _number(first, "GantryDetectorTilt")
    if stated and not angle:
        notes.append(
            f"The header states a gantry tilt of {stated:g} degrees, which the positions "
            f"of the slices do not show."
        )
    expected = _number(first, "ImagesInAcquisition")
    if expected and expected > len(stack.slices):
        notes.append(
            f"The header announces {expected:g} images, but {len(stack.slices)} are there."
        )
    total = _number(first, "InConcatenationTotalNumber")
    parts = {_number(each, "InConcatenationNumber") for each in stack.slices} - {None}
    if total and len(parts) < total:
        notes.append(
            f"The series was divided into {total:g} files, but {len(parts)} are there."
        )
    return notes


def _number(each: Slice, keyword: str) -> float | None:
    try:
        return float(each.numbers(keyword, 1)[0])
    except SeriesError:
        return None


def _values(hu: np.ndarray) -> list[str]:
    """Return a remark if the values cannot be those of a scan of the chest."""
    low, high = float(hu.min()), float(hu.max())
    if low < NO_AIR and high > NO_TISSUE:
        return []
    return [f"The values, {low:.0f} to {high:.0f} HU, are not those of a chest in air."]
