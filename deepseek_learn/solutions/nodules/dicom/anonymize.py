"""Copy a CT study without what identifies the patient (DICOM PS3.15, basic profile).

The profile lists what has to go. This module does the opposite: a list says what may stay,
so an element that nobody thought of is dropped.
"""

import re
import secrets
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataelem import DataElement
from pydicom.dataset import FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from ....files import atomic_write
from .files import CT, SeriesError, Slice, read_dataset, read_folder
from .pixels import Decoder, check

UIDS = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
)
EMPTY = (  # an image has to have these, but they may be empty
    "AccessionNumber",
    "PatientBirthDate",
    "PatientSex",
    "PositionReferenceIndicator",
    "ReferringPhysicianName",
    "StudyDate",
    "StudyID",
    "StudyTime",
)
MAY_STAY = frozenset(
    """
    AcquisitionNumber BitsAllocated BitsStored BodyPartExamined BurnedInAnnotation Columns
    ContrastBolusAgent ConvolutionKernel DataCollectionDiameter Exposure ExposureTime
    FilterType FocalSpots FrameAcquisitionNumber FrameType GantryDetectorTilt
    GeneratorPower HighBit ImageOrientationPatient ImagePositionPatient
    ImageType ImagesInAcquisition InstanceNumber KVP LossyImageCompression
    LossyImageCompressionMethod LossyImageCompressionRatio Manufacturer
    ManufacturerModelName Modality NominalPercentageOfCardiacPhase NumberOfFrames
    PatientPosition PhotometricInterpretation PixelData PixelPaddingRangeLimit
    PixelPaddingValue PixelRepresentation PixelSpacing PlanarConfiguration
    ReconstructionDiameter RescaleIntercept RescaleSlope RescaleType RotationDirection Rows
    SOPClassUID SamplesPerPixel ScanOptions SeriesNumber SingleCollimationWidth
    SliceLocation SliceThickness SpacingBetweenSlices SpiralPitchFactor TableHeight
    TableSpeed TemporalPositionIdentifier TotalCollimationWidth WindowCenter WindowWidth
    XRayTubeCurrent
    CTImageFrameTypeSequence FrameContentSequence PerFrameFunctionalGroupsSequence
    PixelMeasuresSequence PixelValueTransformationSequence PlaneOrientationSequence
    PlanePositionSequence SharedFunctionalGroupsSequence
    """.split()  # noqa: SIM905 - shorter
)
NUMERIC = ("DS", "IS")
TEXT = ("CS", "SH", "LO", "ST", "LT", "UT", "UC")
IDENTIFYING = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientBirthName",
    "PatientMotherBirthName",
    "PatientBirthDate",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "InstitutionName",
    "StationName",
    "DeviceSerialNumber",
)
MARGIN, BRIGHT = 0.1, 200  # of the image; HU


@dataclass(frozen=True)
class Anonymization:
    """What `anonymize` did.

    Attributes:
        files: the number of files written.
        left_out: the names of the files that are not CT images.
        warnings: what a person should look at, one sentence each.
    """

    files: int
    left_out: tuple[str, ...]
    warnings: tuple[str, ...]


def anonymize(
    folder: str | Path, out: str | Path, *, key: str | None = None
) -> Anonymization:
    """Copy the CT images in a folder without what identifies the patient.

    UIDs and the patient's ID are replaced consistently, dates are removed, text that
    contains an identifier is removed, and files get new names. Only CT images are copied.
    Text that is part of the pixels stays: look at the images if there is a warning.

    Args:
        out: a new or empty folder outside of `folder`.
        key: a secret with which the same UIDs and IDs are made again another time; by
            default, a random one.

    Raises:
        FileNotFoundError: if the folder does not exist.
        ValueError: if `out` is not empty or lies in `folder`, or if `key` is "".
        SeriesError: if there is no CT image, or if a file is damaged.
    """
    source, target = Path(folder), Path(out)
    if key == "":
        raise ValueError("key must not be empty.")
    if target.resolve().is_relative_to(source.resolve()):
        raise ValueError(
            f"out must not be in the folder that is copied; got {str(out)!r}."
        )
    if target.exists() and any(target.iterdir()):
        raise ValueError(f"out must be an empty folder; {str(out)!r} is not.")
    contents = read_folder(source)
    if contents.damaged:
        raise SeriesError(next(iter(contents.damaged.values())))
    secret = key or secrets.token_hex(16)
    images = [each for each in contents.slices if _is_ct(each)]
    paths = [*dict.fromkeys(each.path for each in images)]
    if not paths:
        raise SeriesError(f"{str(folder)!r} contains no CT image.")
    for number, path in enumerate(paths):
        dataset = read_dataset(path, pixels=True)
        if dataset is None:
            raise SeriesError(f"{path.name!r} has changed while it was being read.")
        _write(_without_identity(dataset, secret), target / f"IM{number:05d}.dcm")
    copied = set(paths)
    left_out = [each.path.name for each in contents.slices if each.path not in copied]
    notes = _burned_in(images)
    return Anonymization(len(paths), (*contents.others, *left_out), tuple(notes))


def _is_ct(each: Slice) -> bool:
    return each.header.get("SOPClassUID") in CT and each.text("Modality") == "CT"


def _write(dataset: Dataset, path: Path) -> None:
    with atomic_write(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcmwrite(temporary, dataset, enforce_file_format=True)


def _without_identity(dataset: Dataset, secret: str) -> Dataset:
    """Return a new dataset with what may stay, and with new identifiers."""
    identity = _identifiers(dataset)
    result = _filtered(dataset, identity)
    for name in EMPTY:
        setattr(result, name, None)
    for name in UIDS:
        if dataset.get(name):
            setattr(
                result,
                name,
                generate_uid(entropy_srcs=[secret, str(dataset[name].value)]),
            )
    if result.get("ContrastBolusAgent"):
        result.ContrastBolusAgent = "CONTRAST"
    patient = generate_uid(entropy_srcs=[secret, str(dataset.get("PatientID") or "")])
    result.PatientID = f"P{patient[-8:]}"
    result.PatientName = f"Anonymous^{result.PatientID}"
    result.PatientIdentityRemoved = "YES"
    result.DeidentificationMethod = "deepseek_learn: only listed elements stay"
    profile = codes.DCM.BasicApplicationConfidentialityProfile
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator = (
        profile.value,
        profile.scheme_designator,
    )
    code.CodeMeaning = profile.meaning
    result.DeidentificationMethodCodeSequence = [code]
    result.file_meta = FileMetaDataset()
    result.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    result.file_meta.MediaStorageSOPInstanceUID = result.SOPInstanceUID
    result.file_meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
    return result


def _filtered(dataset: Dataset, identity: Iterable[str]) -> Dataset:
    result = Dataset()
    for tag in dataset.keys():  # noqa: SIM118 - iterating would decode all elements
        if tag.is_private:
            continue
        try:
            element = dataset[tag]
        except (ValueError, TypeError, KeyError, NotImplementedError):
            continue  # what cannot be decoded does not stay
        if element.keyword not in MAY_STAY or not _harmless(element, identity):
            continue
        if element.VR == "SQ":
            items = [_filtered(item, identity) for item in element.value]
            result.add(DataElement(tag, "SQ", items))
        else:
            result.add(element)
    return result


def _harmless(element: DataElement, identity: Iterable[str]) -> bool:
    """Return whether an element's text contains no identifier and its numbers no text."""
    if element.VR in NUMERIC:
        values = np.atleast_1d(np.asarray(element.value, dtype=object))
        return all(re.fullmatch(r"[-+0-9.eE ]*", str(value)) for value in values)
    if element.VR in TEXT:
        text = str(element.value).casefold()
        return not any(each in text for each in identity)
    return True


def _identifiers(dataset: Dataset) -> set[str]:
    """Return the words of the elements that identify somebody, in lower case."""
    words: set[str] = set()
    for name in IDENTIFYING:
        try:
            text = str(dataset.get(name) or "")
        except (ValueError, TypeError):
            continue
        words.update(re.split(r"[\s^=,;/\\\[\]'\"]+", text.casefold()))
    return {word for word in words if len(word) > 2}


def _burned_in(images: list[Slice]) -> list[str]:
    """Return warnings if the pixels may show the patient's name."""
    notes = []
    if any(each.text("BurnedInAnnotation").upper() == "YES" for each in images):
        notes.append(
            "The header says that text is part of the images (BurnedInAnnotation)."
        )
    if any("SECONDARY" in each.text("ImageType").upper() for each in images):
        notes.append("Some images are secondary ones, which often show text.")
    decoder = Decoder()
    for each in images[:: max(1, len(images) // 8)]:
        try:
            check(each)
            hu = decoder.hu(each)
        except SeriesError:
            continue
        if _bright_margin(hu):
            notes.append(
                f"Bright pixels near the border of {each.name} may be text: look at the "
                f"images before you share them."
            )
            break
    return notes


def _bright_margin(hu: np.ndarray) -> bool:
    """Return whether bright pixels stand alone in the air near the image's border."""
    rows, columns = (max(1, int(MARGIN * size)) for size in hu.shape)
    border = np.ones(hu.shape, bool)
    border[rows:-rows, columns:-columns] = False
    return bool((hu[border] > BRIGHT).any())
