"""What may stay in an anonymous image: elements and words on a list."""

import re

import numpy as np
from pydicom.dataelem import DataElement

NEEDED = frozenset(  # without these, the volume would be another one
    """
    BitsAllocated BitsStored Columns HighBit ImageOrientationPatient
    ImagePositionPatient NumberOfFrames PixelPaddingRangeLimit PixelPaddingValue
    PixelRepresentation PixelSpacing RescaleIntercept RescaleSlope Rows
    SamplesPerPixel
    """.split()  # noqa: SIM905 - shorter
)
NUMBERS = frozenset(  # stay unless they share digits with the patient's numbers
    """
    DataCollectionDiameter ExposureTime GantryDetectorTilt ImagesInAcquisition KVP
    NominalPercentageOfCardiacPhase ReconstructionDiameter SliceThickness
    SpacingBetweenSlices SpiralPitchFactor TemporalPositionIndex WindowCenter
    WindowWidth XRayTubeCurrent
    """.split()  # noqa: SIM905
)
SEQUENCES = frozenset(
    """
    CTImageFrameTypeSequence FrameContentSequence PerFrameFunctionalGroupsSequence
    PixelMeasuresSequence PixelValueTransformationSequence PlaneOrientationSequence
    PlanePositionSequence SharedFunctionalGroupsSequence
    """.split()  # noqa: SIM905
)
TYPES = [
    "ORIGINAL",
    "DERIVED",
    "MIXED",
    "PRIMARY",
    "SECONDARY",
    "AXIAL",
    "LOCALIZER",
    "SCOUT",
    "VOLUME",
    "MPR",
    "MIP",
    "MAXIMUM",
    "MINIMUM",
    "MEAN",
    "NONE",
    "RESAMPLED",
    "HELIX",
    "REFORMATTED",
]
WORDS = {  # text that may stay: any of these words; other values of ImageType: OTHER
    "BodyPartExamined": [
        "CHEST",
        "THORAX",
        "LUNG",
        "ABDOMEN",
        "CHESTABDOMEN",
        "HEAD",
        "NECK",
    ],
    "BurnedInAnnotation": ["YES", "NO"],
    "FrameType": TYPES,
    "ImageType": TYPES,
    "LossyImageCompression": ["00", "01"],
    "Modality": ["CT"],
    "PatientPosition": ["HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"],
    "PhotometricInterpretation": ["MONOCHROME1", "MONOCHROME2"],
    "RescaleType": ["HU"],
    "Manufacturer": [
        "SIEMENS",
        "GE",
        "PHILIPS",
        "TOSHIBA",
        "CANON",
        "HITACHI",
        "NEUSOFT",
        "UIH",
        "FUJIFILM",
        "SAMSUNG",
    ],
}
KERNEL = re.compile(
    r"[A-Z]{1,2}\d{2,3}[a-z]{0,2}|STANDARD|SOFT|LUNG|BONE|DETAIL|EDGE|CHEST",
    re.IGNORECASE,
)


def numeric(element: DataElement) -> bool:
    """Return whether all values of an element are written as numbers."""
    values = np.atleast_1d(np.asarray(element.value, dtype=object))
    return all(re.fullmatch(r"[-+0-9.eE ]*", str(value)) for value in values)


def word(name: str, value: object) -> str | list[str] | None:
    """Return the known words among an element's values; None if there are none."""
    known = WORDS[name]
    single = isinstance(value, str)
    values = [value] if single else list(value)  # type: ignore[call-overload]
    words = [str(each).strip().upper() for each in values]
    if name == "Manufacturer":
        return next((k for k in known if k in words[0].split()), None)
    if name in ("ImageType", "FrameType"):
        return [each if each in known else "OTHER" for each in words]
    return words[0] if len(words) == 1 and words[0] in known else None


def digits(value: object) -> set[str]:
    """Return the runs of at least four digits in a value, without those of zeros."""
    return {run for run in re.findall(r"\d{4,}", str(value)) if int(run)}
