"""Refuse slices that do not belong to one scan of one patient.

A mixture of two scans can be evenly spaced, so the positions do not show it.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

from pydicom.datadict import dictionary_VR

from .geometry import arrange
from .header import SeriesError, Slice

# what has to be the same in all slices, and what differs otherwise
SAME = {
    "PatientID": "patients",
    "PatientName": "patients",
    "PatientSex": "patients",
    "PatientBirthDate": "patients",
    "StudyInstanceUID": "studies",
    "FrameOfReferenceUID": "frames of reference",
    "StudyDate": "studies",
    "Manufacturer": "scanners",
    "ManufacturerModelName": "scanners",
    "DeviceSerialNumber": "scanners",
    "InstitutionName": "hospitals",
    "PatientPosition": "positions of the patient",
    "Rows": "image sizes",
    "Columns": "image sizes",
    "ImageType": "kinds of images",
    "RescaleType": "units",
    "KVP": "tube voltages",
    "ConvolutionKernel": "reconstruction kernels",
    "FilterType": "filters",
    "ReconstructionDiameter": "fields of view",
    "ContrastBolusAgent": "contrast agents",
    "TemporalPositionIdentifier": "points in time",
    "TemporalPositionIndex": "points in time",
    "NominalPercentageOfCardiacPhase": "phases of the heart",
    "NominalPercentageOfRespiratoryPhase": "phases of breathing",
}
NEEDED = ("Rows", "Columns", "StudyInstanceUID", "FrameOfReferenceUID")
# what some scanners leave out in some of the slices
OPTIONAL = frozenset(SAME) - {*NEEDED, "PatientID", "ContrastBolusAgent"}
# what may change from one block of slices to the next, but must not alternate
BLOCKS = {
    "AcquisitionNumber": "acquisitions",
    "FrameAcquisitionNumber": "acquisitions",
    "AcquisitionUID": "acquisitions",
    "IrradiationEventUID": "acquisitions",
    "AcquisitionDate": "days",
    "AcquisitionDateTime": "days",
    "SeriesDate": "days",
    "ContentDate": "days",
    "SeriesDescription": "series",
    "ProtocolName": "protocols",
    "SeriesNumber": "series",
    "StackID": "stacks",
}


def check(slices: Sequence[Slice]) -> list[str]:
    """Return remarks on what changes from slice to slice.

    Raises:
        SeriesError: with what differs, if the slices belong to several scans.
    """
    for each in slices:
        if each.frame is None and (each.frames or 1) != 1:
            raise SeriesError(
                f"{each.name} has several frames but is not an enhanced CT."
            )
    for keyword, words in SAME.items():
        _check_same(slices, keyword, words)
    remarks = []
    for keyword, words in BLOCKS.items():
        remarks += _check_blocks(slices, keyword, words)
    return remarks


def _check_same(slices: Sequence[Slice], keyword: str, words: str) -> None:
    values = Counter(_value(each, keyword) for each in slices)
    if keyword in OPTIONAL:
        del values[""]
    if len(values) < 2:
        return
    (usual, _), (other, _), *_ = values.most_common()
    if "" in values and keyword in NEEDED:
        which = next(each for each in slices if not _value(each, keyword))
        raise SeriesError(f"{which.name} has no {keyword}; it may be truncated.")
    first, second = (
        next(each for each in slices if _value(each, keyword) == value)
        for value in (usual, other)
    )
    raise SeriesError(
        f"The series mixes several {words}: {keyword} is {first.text(keyword)!r} in "
        f"{first.name} and {second.text(keyword)!r} in {second.name}."
    )


def _value(each: Slice, keyword: str) -> str:
    """Return an element in a form in which different spellings are equal."""
    text = each.text(keyword)
    if dictionary_VR(keyword) in ("DS", "IS", "US", "FL", "FD"):
        try:
            return f"{float(text):g}"
        except ValueError:
            return text
    if keyword == "ImageType":  # the values after these three are the maker's own
        return ",".join(text.upper().strip("[]").split(",")[:3])
    if keyword == "AcquisitionDateTime":  # the day
        return text[:8]
    return text.casefold()


def _check_blocks(slices: Sequence[Slice], keyword: str, words: str) -> list[str]:
    values = {_value(each, keyword) for each in slices} - {""}
    if len(values) < 2:
        return []
    ordered = [_value(each, keyword) for each in arrange(slices).slices]
    labels = [label for label in ordered if label]
    blocks = 1 + sum(a != b for a, b in pairwise(labels))
    if blocks > len(values):
        raise SeriesError(
            f"The series mixes {len(values)} {words} that overlap ({keyword} "
            f"{some(sorted(values))})."
        )
    if blocks == len(slices):  # each slice has a number of its own
        return _out_of_order(labels, keyword)
    return [
        f"The series consists of {blocks} {words}, one above the other ({keyword})."
    ]


def _out_of_order(labels: Sequence[str], keyword: str) -> list[str]:
    if not all(label.isdecimal() for label in labels):
        return []
    numbers = [int(label) for label in labels]
    if numbers in (sorted(numbers), sorted(numbers, reverse=True)):
        return []
    return [
        f"The slices were not acquired in the order of their positions ({keyword}), as if "
        f"there were two scans."
    ]


def check_instances(slices: Sequence[Slice]) -> None:
    """Refuse different slices with one SOPInstanceUID.

    Raises:
        SeriesError: with the names of two of them.
    """
    names: dict[str, str] = {}
    for each in slices:
        uid = each.text("SOPInstanceUID")
        if each.frame is None and names.setdefault(uid, each.name) != each.name:
            raise SeriesError(
                f"{names[uid]} and {each.name} are different slices with the same "
                f"SOPInstanceUID."
            )


def check_numbering(slices: Sequence[Slice]) -> None:
    """Refuse reconstructions that were interleaved, each with numbers of its own.

    Where slices lie one above the other, as in two acquisitions that are numbered anew,
    InstanceNumber rises or falls until it begins again. It may also be the same everywhere
    or, if no number occurs twice, in any order.

    Args:
        slices: different slices, sorted along their normal.

    Raises:
        SeriesError: with the names of two slices that have the same number.
    """
    pairs = [(_number(each), each) for each in slices if each.frame is None]
    counts = Counter(number for number, _ in pairs if number is not None)
    if len(counts) < 2 or max(counts.values()) < 2:
        return
    blocks, last = [list[int]()], dict[int, Slice]()
    for number, each in pairs:
        if number is None:
            continue
        if number in blocks[-1]:
            blocks.append([])
        blocks[-1].append(number)
        if number in last:
            twice = number, last[number], each
        last[number] = each
    monotonic = all(b in (sorted(b), sorted(b, reverse=True)) for b in blocks)
    if len(blocks) > max(counts.values()) or not monotonic:
        number, first, second = twice
        raise SeriesError(
            f"{first.name} and {second.name} are different slices with the same "
            f"InstanceNumber, {number}, and so are others between them: the series holds "
            f"several reconstructions that overlap."
        )


def _number(each: Slice) -> int | None:
    text = each.text("InstanceNumber")
    return int(text) if text.isdecimal() else None


def some(names: Sequence[str], most: int = 3) -> str:
    """Return the first names of a list, and how many more there are."""
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + rest
