"""Findings as DICOM objects: a segmentation (SEG) and a structured report (SR).

The segmentation marks each finding's estimated ball; the report is a measurement report
(DICOM PS3.16, TID 1500) with a group for each finding.
"""

import re
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from highdicom.sr.coding import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UID
from pydicom.valuerep import DSfloat

from ....errors import check_count
from ....files import atomic_write
from ..finding import Finding, ball
from ..volume import Volume
from .files import MULTI_FRAME
from .header import SeriesError, Slice

ALGORITHM = "deepseek_learn nodule detector"
WARNING = "Research and teaching only. Not for diagnosis."
DEVICE: dict[str, Any] = {
    "manufacturer": "deepseek_learn",
    "manufacturer_model_name": ALGORITHM,
    "software_versions": version("deepseek-learn"),
    "device_serial_number": "0",
}
# what is copied from the images, and the form that a validator accepts
COPIED = {
    "PatientID": r"[^\\]{1,64}",
    "PatientName": r"[^\\=^]{0,40}(\^[^\\=^]{0,20}){0,4}",
    "PatientBirthDate": r"\d{8}",
    "PatientSex": r"[MFO]",
    "StudyID": r"[^\\]{1,16}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{6}(\.\d{1,6})?",
    "AccessionNumber": r"[^\\]{1,16}",
    "ReferringPhysicianName": r"[^\\=^]{0,40}(\^[^\\=^]{0,20}){0,4}",
}
UIDS = (
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "FrameOfReferenceUID",
)
GEOMETRY = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
NODULE, LUNG = codes.SCT.Nodule, codes.SCT.Lung
CHEST_CT = CodedConcept("24627-2", "LN", "CT Chest")
INTERVAL = (
    "lower end of the diameter's interval",
    "upper end of the diameter's interval",
)


def write_findings(
    volume: Volume, findings: Sequence[Finding], folder: str | Path, number: int = 100
) -> list[Path]:
    """Write findings as `findings_seg.dcm` and `findings_sr.dcm` and return the paths.

    Without findings there is no segmentation, and the report says that none were found.

    Args:
        volume: a volume with the headers of the images that it was read from.
        number: the SeriesNumber of the segmentation; that of the report is one more.

    Raises:
        ValueError: if the volume has no headers, or if a finding is not finite or is
            outside of the volume.
        SeriesError: if the headers lack the identifiers to which findings refer.
    """
    check_count("number", number)
    if not volume.headers:
        raise ValueError(
            "volume has no DICOM headers, so findings have nothing to refer to."
        )
    for finding in findings:
        _check(volume, finding)
    images = _images(volume)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about unusual names of patients
        segments = segmentation(volume, findings, images, number) if findings else None
        document = report(findings, images, segments, number + 1)
    objects = [document] if segments is None else [segments, document]
    paths = []
    for each in objects:
        path = Path(folder) / f"findings_{each.Modality.lower()}.dcm"
        with atomic_write(path) as temporary:
            each.save_as(temporary)
        paths.append(path)
    return paths


def _check(volume: Volume, finding: Finding) -> None:
    """Refuse a finding that is not in the volume."""
    index = volume.to_index(np.array(finding.center_mm))
    if (index <= -1).any() or (index >= volume.hu.shape).any():
        raise ValueError(f"findings must be in the volume; got {finding}.")


def _images(volume: Volume) -> list[Dataset]:
    """Return the source images with what highdicom reads from them, and nothing else."""
    slices = [
        Slice(path, header)
        for path, header in zip(volume.files, volume.headers, strict=True)
    ]
    if volume.headers[0].SOPClassUID not in MULTI_FRAME:
        return [_image(volume, each) for each in slices]
    groups: dict[Path, list[Slice]] = {}
    for each in slices:
        groups.setdefault(each.path, []).append(each)
    return [_multi_frame(volume, own) for own in groups.values()]


def _image(volume: Volume, each: Slice) -> Dataset:
    image = Dataset()
    for name in UIDS:
        value = UID(each.text(name))
        if not value or not value.is_valid:
            raise SeriesError(
                f"{each.name} has no valid {name} ({value!r}), to which findings refer."
            )
        setattr(image, name, value)
    for name, form in COPIED.items():
        text = each.text(name)
        setattr(image, name, text if re.fullmatch(form, text) else None)
    image.SpecificCharacterSet = "ISO_IR 192"
    image.SOPClassUID, image.Modality = each.header.SOPClassUID, "CT"
    for name in GEOMETRY:
        count = {"ImagePositionPatient": 3, "ImageOrientationPatient": 6}.get(name, 2)
        numbers = each.numbers(name, count)
        setattr(image, name, [DSfloat(float(n), auto_format=True) for n in numbers])
    for name in ("Rows", "Columns", "BitsAllocated", "BitsStored"):
        setattr(image, name, int(each.numbers(name, 1)[0]))
    image.SliceThickness = DSfloat(_thickness(volume, each), auto_format=True)
    image.InstanceNumber = 1
    image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    return image


def _thickness(volume: Volume, each: Slice) -> float:
    """Return the stated thickness of a slice in mm, or the spacing if it makes no sense."""
    try:
        thickness = float(each.numbers("SliceThickness", 1)[0])
    except SeriesError:
        return volume.spacing_mm[0]
    return thickness if 0 < thickness < 100 else volume.spacing_mm[0]


def _multi_frame(volume: Volume, slices: Sequence[Slice]) -> Dataset:
    """Return an enhanced image with a functional group for each of its frames."""
    frames = [_image(volume, each) for each in slices]
    whole = frames[0]
    measures, orientation = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = (
        whole.PixelSpacing,
        whole.SliceThickness,
    )
    orientation.ImageOrientationPatient = whole.ImageOrientationPatient
    shared, groups = Dataset(), []
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    for frame in frames:
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = frame.ImagePositionPatient
        group.PlanePositionSequence = [position]
        groups.append(group)
    whole.SharedFunctionalGroupsSequence = [shared]
    whole.PerFrameFunctionalGroupsSequence = groups
    whole.NumberOfFrames = len(frames)
    for name in (*GEOMETRY, "SliceThickness"):
        delattr(whole, name)
    return whole


def segmentation(
    volume: Volume, findings: Sequence[Finding], images: Sequence[Dataset], number: int
) -> "hd.seg.Segmentation":
    """Return a binary segmentation with a segment for each finding.

    Where findings overlap, a voxel belongs to the smallest one.
    """
    algorithm = hd.AlgorithmIdentificationSequence(
        name=ALGORITHM,
        family=codes.DCM.ArtificialIntelligence,
        version=version("deepseek-learn"),
    )
    descriptions = [
        hd.seg.SegmentDescription(
            segment_number=index,
            segment_label=f"Finding {index}",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=NODULE,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
            tracking_uid=hd.UID(),
            tracking_id=f"Finding {index}",
            anatomic_regions=[LUNG],
        )
        for index in range(1, len(findings) + 1)
    ]
    dz, dy, dx = volume.spacing_mm
    thickness = _thickness(volume, Slice(volume.files[0], volume.headers[0]))
    several = images[0].SOPClassUID in MULTI_FRAME and len(images) > 1
    return hd.seg.Segmentation(
        source_images=images[:1] if several else images,
        further_source_images=images[1:] if several else None,
        pixel_array=_label_map(volume, findings),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=descriptions,
        series_instance_uid=hd.UID(),
        series_number=number,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        content_description=WARNING,
        pixel_measures=hd.PixelMeasuresSequence(
            pixel_spacing=(dy, dx),
            slice_thickness=thickness,
            spacing_between_slices=dz,
        ),
        plane_orientation=hd.PlaneOrientationSequence(
            "PATIENT", [*volume.directions[2], *volume.directions[1]]
        ),
        plane_positions=[
            hd.PlanePositionSequence("PATIENT", [*volume.to_mm(np.array([z, 0, 0]))])
            for z in range(len(volume.hu))
        ],
        **DEVICE,
    )


def _label_map(volume: Volume, findings: Sequence[Finding]) -> np.ndarray:
    """Return for each voxel the number of its finding, or 0: `[Z, Y, X]`."""
    labels = np.zeros(volume.hu.shape, np.min_scalar_type(len(findings)))
    order = sorted(
        range(len(findings)), key=lambda i: findings[i].diameter_mm, reverse=True
    )
    for index in order:
        labels[ball(volume, findings[index])] = index + 1
    return labels


def report(
    findings: Sequence[Finding],
    images: Sequence[Dataset],
    segments: "hd.seg.Segmentation | None",
    number: int,
) -> "hd.sr.Comprehensive3DSR":
    """Return a measurement report with diameter and probability of each finding."""
    groups = [
        _group(index, each, images, segments) for index, each in enumerate(findings, 1)
    ]
    observer = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=hd.UID(), name=ALGORITHM
        ),
    )
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=observer),
        procedure_reported=CHEST_CT,
        imaging_measurements=groups or [_nothing_found()],
        title=codes.DCM.ImagingMeasurementReport,
    )
    evidence = [*images, segments] if segments is not None else [*images]
    return hd.sr.Comprehensive3DSR(
        evidence=evidence,
        content=content,
        series_instance_uid=hd.UID(),
        series_number=number,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=DEVICE["manufacturer"],
        is_complete=True,
        is_final=False,
        is_verified=False,
        series_description=WARNING,
    )


def _group(
    index: int, finding: Finding, images: Sequence[Dataset], segments: Any
) -> "hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations":
    measurements = [
        _measurement(codes.SCT.Diameter, finding.diameter_mm, codes.UCUM.Millimeter),
        _measurement(codes.DCM.Probability, finding.probability, codes.UCUM.NoUnits),
    ]
    for number, (name, value) in enumerate(
        zip(INTERVAL, finding.diameters_mm or (), strict=False), 1
    ):
        concept = CodedConcept(f"DIAMETER-{number}", "99DSL", name)
        measurements.append(_measurement(concept, value, codes.UCUM.Millimeter))
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=segments.SegmentSequence[index - 1].TrackingUID,
            identifier=f"Finding {index}",
        ),
        referenced_segment=hd.sr.ReferencedSegment(
            sop_class_uid=segments.SOPClassUID,
            sop_instance_uid=segments.SOPInstanceUID,
            segment_number=index,
            source_series=hd.sr.SourceSeriesForSegmentation(
                images[0].SeriesInstanceUID
            ),
        ),
        finding_type=NODULE,
        finding_sites=[hd.sr.FindingSite(anatomic_location=LUNG)],
        measurements=measurements,
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=ALGORITHM, version=version("deepseek-learn")
        ),
    )


def _measurement(name: Any, value: float, unit: Any) -> "hd.sr.Measurement":
    return hd.sr.Measurement(name=name, value=round(float(value), 4), unit=unit)


def _nothing_found() -> "hd.sr.MeasurementsAndQualitativeEvaluations":
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=hd.UID(), identifier="Findings"
        ),
        finding_type=NODULE,
        finding_sites=[hd.sr.FindingSite(anatomic_location=LUNG)],
        qualitative_evaluations=[
            hd.sr.QualitativeEvaluation(name=NODULE, value=codes.SCT.Absent)
        ],
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=ALGORITHM, version=version("deepseek-learn")
        ),
    )
