"""Write a volume as a CT series: one DICOM file per slice.

The phantoms become series with it, and so do the traps that the reader is tested on.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def ct_datasets(
    hu: np.ndarray,
    spacing_mm: Sequence[float],
    origin_mm: Sequence[float] = (0.0, 0.0, 0.0),
    *,
    orientation: Sequence[float] = AXIAL,
    step_mm: Sequence[float] | None = None,
    intercept: int = -1024,
    patient: str = "PHANTOM",
    uid_seed: str | None = None,
) -> list[Dataset]:
    """Return a volume as CT images, one dataset per slice.

    Args:
        hu: Hounsfield units of shape `[Z, Y, X]`, rounded to whole numbers and clipped to
            what 16 bits hold.
        spacing_mm: the distances between voxels along Z, Y and X.
        origin_mm: the position of voxel [0, 0, 0] in patient coordinates.
        orientation: the directions of a row and of a column.
        step_mm: from one slice to the next; by default along the normal.
        intercept: the RescaleIntercept; the stored values are `hu - intercept`.
        patient: the PatientID and PatientName.
        uid_seed: a text from which all UIDs are derived; by default they are random.
    """

    def uid(name: str) -> UID:
        return generate_uid(entropy_srcs=[uid_seed, name] if uid_seed else None)

    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    normal = np.cross(row, column)
    step = normal * spacing_mm[0] if step_mm is None else np.asarray(step_mm, float)
    stored = np.clip(np.round(hu) - intercept, 0, 2**16 - 1).astype("<u2")
    series, study, frame = uid("series"), uid("study"), uid("frame")
    datasets = []
    for index, image in enumerate(stored):
        instance = uid(f"instance {index}")
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = instance
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        position = np.asarray(origin_mm, float) + index * step
        elements = _COMMON | {
            "SOPInstanceUID": instance,
            "PatientID": patient,
            "PatientName": f"{patient}^",
            "StudyInstanceUID": study,
            "SeriesInstanceUID": series,
            "FrameOfReferenceUID": frame,
            "InstanceNumber": index + 1,
            "SliceThickness": f"{spacing_mm[0]:g}",
            "ImagePositionPatient": [_decimal(value) for value in position],
            "ImageOrientationPatient": [_decimal(value) for value in orientation],
            "PixelSpacing": [_decimal(value) for value in spacing_mm[1:]],
            "Rows": image.shape[0],
            "Columns": image.shape[1],
            "RescaleIntercept": str(intercept),
        }
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)
        dataset.PixelData = image.tobytes()
        dataset["PixelData"].VR = "OW"
        datasets.append(dataset)
    return datasets


_COMMON = {
    "SOPClassUID": CTImageStorage,
    "PatientBirthDate": "",
    "PatientSex": "O",
    "StudyID": "1",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "StudyDate": "20260101",
    "SeriesDate": "20260101",
    "ContentDate": "20260101",
    "StudyTime": "120000",
    "SeriesTime": "120000",
    "ContentTime": "120000",
    "Modality": "CT",
    "Manufacturer": "deepseek_learn",
    "SeriesDescription": "Chest phantom",
    "SeriesNumber": 1,
    "AcquisitionNumber": 1,
    "BodyPartExamined": "CHEST",
    "PositionReferenceIndicator": "",
    "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
    "KVP": "120",
    "PatientPosition": "HFS",
    "SamplesPerPixel": 1,
    "PhotometricInterpretation": "MONOCHROME2",
    "BitsAllocated": 16,
    "BitsStored": 16,
    "HighBit": 15,
    "PixelRepresentation": 0,
    "RescaleSlope": "1",
    "RescaleType": "HU",
    "WindowCenter": "-600",
    "WindowWidth": "1500",
}


def _decimal(value: float) -> str:
    """Return a number as a decimal string, which has at most 16 characters."""
    return f"{value:.10g}"


def write_datasets(
    datasets: Sequence[Dataset], folder: str | Path, transfer_syntax: str | None = None
) -> list[Path]:
    """Write datasets as files of a folder and return their paths.

    The files are numbered in the order of the datasets.

    Args:
        transfer_syntax: the UID of the encoding; by default what each dataset states.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, dataset in enumerate(datasets):
        path = folder / f"IM{number:04d}"
        stated = dataset.file_meta.TransferSyntaxUID
        _write(dataset, path, UID(transfer_syntax or stated))
        paths.append(path)
    return paths


def _write(dataset: Dataset, path: Path, syntax: UID) -> None:
    if syntax.is_compressed and not syntax.is_deflated:
        if syntax != dataset.file_meta.TransferSyntaxUID:
            dataset.compress(syntax, generate_instance_uid=False)
        dcmwrite(path, dataset, enforce_file_format=True)
        return
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax != ExplicitVRBigEndian:
        implicit = syntax == ImplicitVRLittleEndian
        dcmwrite(path, dataset, implicit_vr=implicit, enforce_file_format=True)
        return
    dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.preamble = bytes(128)
    dcmwrite(path, dataset, implicit_vr=False, little_endian=False, force_encoding=True)


def change(datasets: Sequence[Dataset], **elements: Any) -> Sequence[Dataset]:
    """Set elements of all datasets; None deletes one. A function gets the index."""
    for index, dataset in enumerate(datasets):
        for keyword, value in elements.items():
            if value is None:
                dataset.pop(keyword, None)
                continue
            if callable(value):
                value = value(index)
            setattr(dataset, keyword, value)
    return datasets
