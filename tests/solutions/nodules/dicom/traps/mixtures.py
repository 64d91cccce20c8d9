"""Traps: what does not belong into one volume."""

from copy import deepcopy
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from deepseek_learn.solutions.nodules.dicom.writing import change

from .trap import SPACING_MM, Truth, phantom, save, series, trap

ONE = generate_uid(entropy_srcs=["one", "series"])  # of series(uid_seed="one")


def _another() -> list[Dataset]:
    """A second series of the same patient, 3 HU brighter."""
    return series(phantom(seed=1) + 3, uid_seed="another")


def _other_object(dataset: Dataset, sop_class: str, modality: str) -> Dataset:
    """The same file as an object of another kind."""
    other = deepcopy(dataset)
    uid = generate_uid()
    change([other], SOPClassUID=sop_class, Modality=modality, SOPInstanceUID=uid)
    other.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    other.file_meta.MediaStorageSOPInstanceUID = uid
    return other


@trap("two series in one folder", refused="2 CT series")
def two_series(folder: Path) -> list[Truth]:
    save(series(uid_seed="one") + _another(), folder)
    return [Truth(phantom()), Truth(phantom(seed=1) + 3)]


@trap("two series, of which one is chosen", series_uid=ONE)
def series_chosen(folder: Path) -> list[Truth]:
    save(series(uid_seed="one") + _another(), folder)
    return [Truth(phantom())]


@trap(
    "a series is chosen that is not there", refused="no CT series", series_uid="1.2.3"
)
def series_unknown(folder: Path) -> list[Truth]:
    save(series(), folder)
    return [Truth(phantom())]


@trap("a localizer in the same series", warning="localizer")
def localizer(folder: Path) -> list[Truth]:
    datasets = series(uid_seed="one")
    side = series(phantom()[:1], orientation=(0, 1, 0, 0, 0, -1), uid_seed="one")
    change(side, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], InstanceNumber=0)
    change(side, SOPInstanceUID=generate_uid())
    save(datasets + side, folder)
    return [Truth(phantom())]


@trap("a localizer that does not say so", refused="ImageOrientationPatient differs")
def hidden_localizer(folder: Path) -> list[Truth]:
    datasets = series(uid_seed="one")
    side = series(phantom()[:1], orientation=(0, 1, 0, 0, 0, -1), uid_seed="one")
    change(side, InstanceNumber=0, SOPInstanceUID=generate_uid())
    save(datasets + side, folder)
    return [Truth(phantom())]


@trap("a copy of a file", warning="Duplicates")
def duplicate_file(folder: Path) -> list[Truth]:
    datasets = series()
    save([*datasets, deepcopy(datasets[3])], folder)
    return [Truth(phantom())]


@trap("every file is there twice", warning="Duplicates")
def every_file_twice(folder: Path) -> list[Truth]:
    for copy in ("a", "b"):
        save(series(uid_seed="one"), folder / copy)
    return [Truth(phantom())]


@trap("the same image with another UID", warning="Duplicates")
def duplicate_image(folder: Path) -> list[Truth]:
    datasets = series()
    copy = deepcopy(datasets[3])
    change([copy], SOPInstanceUID=generate_uid(), InstanceNumber=25)
    save([*datasets, copy], folder)
    return [Truth(phantom())]


@trap("two different images at one place", refused="same place")
def two_at_one_place(folder: Path) -> list[Truth]:
    datasets = series()
    other = deepcopy(datasets[3])
    change(
        [other], SOPInstanceUID=generate_uid(), PixelData=bytes(len(other.PixelData))
    )
    save([*datasets, other], folder)
    return []


@trap("a changed copy of a file", refused="same place")
def changed_copy(folder: Path) -> list[Truth]:
    datasets = series()
    other = deepcopy(datasets[3])
    change([other], PixelData=bytes(len(other.PixelData)))
    save([*datasets, other], folder)
    return []


@trap("the same scan before and after contrast, in one series", refused="same place")
def before_and_after(folder: Path) -> list[Truth]:
    first = series(uid_seed="one")
    second = series(phantom(seed=1) + 60, uid_seed="one")
    change(second, SOPInstanceUID=lambda i: generate_uid())
    save(first + second, folder)
    return [Truth(phantom()), Truth(phantom(seed=1) + 60)]


def _interleaved(folder: Path, keyword: str, values: tuple) -> list[Truth]:
    """Two scans whose slices alternate, so that the spacing is even."""
    save(change(series(), **{keyword: lambda i: values[i % 2]}), folder)
    return []


@trap("slices of two acquisitions alternate", refused="2 acquisitions")
def acquisitions_interleaved(folder: Path) -> list[Truth]:
    return _interleaved(folder, "AcquisitionNumber", ("1", "2"))


@trap("two acquisitions, one above the other", warning="2 acquisitions")
def acquisitions_consecutive(folder: Path) -> list[Truth]:
    save(change(series(), AcquisitionNumber=lambda i: 1 + i // 12), folder)
    return [Truth(phantom())]


@trap(
    "a second reconstruction half a slice above the first, in the same series",
    refused="several reconstructions that overlap",
)
def reconstructions_interleaved(folder: Path) -> list[Truth]:
    save(change(series(), InstanceNumber=lambda i: 1 + i // 2), folder)
    return []


@trap("InstanceNumber begins anew in the upper half")
def numbers_restart(folder: Path) -> list[Truth]:
    save(change(series(), InstanceNumber=lambda i: 1 + i % 12), folder)
    return [Truth(phantom())]


@trap(
    "slices of two reconstruction kernels alternate", refused="reconstruction kernels"
)
def kernels_interleaved(folder: Path) -> list[Truth]:
    return _interleaved(folder, "ConvolutionKernel", ("B30f", "B70f"))


@trap("slices of two tube voltages alternate", refused="tube voltages")
def voltages_interleaved(folder: Path) -> list[Truth]:
    return _interleaved(folder, "KVP", ("80", "140"))


@trap("every other slice is with contrast", refused="contrast agents")
def contrast_interleaved(folder: Path) -> list[Truth]:
    return _interleaved(folder, "ContrastBolusAgent", ("", "Iopamidol"))


@trap("slices of two phases of the heart alternate", refused="phases of the heart")
def phases_interleaved(folder: Path) -> list[Truth]:
    return _interleaved(folder, "NominalPercentageOfCardiacPhase", (30.0, 70.0))


@trap("one slice is another patient's", refused="patients")
def two_patients(folder: Path) -> list[Truth]:
    datasets = series()
    change([datasets[9]], PatientID="P2")
    save(datasets, folder)
    return []


@trap("three patients in one series", refused="patients")
def three_patients(folder: Path) -> list[Truth]:
    save(change(series(), PatientID=lambda i: f"P{i % 3}"), folder)
    return []


@trap("patients without an ID, born on different days", refused="patients")
def birthdays_differ(folder: Path) -> list[Truth]:
    days = ("19500101", "19600202")
    save(
        change(series(), PatientID="", PatientBirthDate=lambda i: days[i // 12]), folder
    )
    return []


@trap("two studies in one series", refused="studies")
def two_studies(folder: Path) -> list[Truth]:
    uids = generate_uid(), generate_uid()
    save(change(series(), StudyInstanceUID=lambda i: uids[i // 12]), folder)
    return []


@trap("two frames of reference in one series", refused="frames of reference")
def two_frames_of_reference(folder: Path) -> list[Truth]:
    uids = generate_uid(), generate_uid()
    save(change(series(), FrameOfReferenceUID=lambda i: uids[i // 12]), folder)
    return []


@trap("half of the slices are feet first", refused="positions of the patient")
def positions_mixed(folder: Path) -> list[Truth]:
    places = ("HFS", "FFS")
    save(change(series(), PatientPosition=lambda i: places[i // 12]), folder)
    return []


@trap("a structured report and a screenshot among the slices", warning="SR 1")
def other_objects(folder: Path) -> list[Truth]:
    datasets = series(uid_seed="one")  # the UIDs decide which object comes first
    report = _other_object(datasets[0], BasicTextSRStorage, "SR")
    change([report], PixelData=None, ImagePositionPatient=None)
    screenshot = _other_object(datasets[1], SecondaryCaptureImageStorage, "OT")
    change([screenshot], ImagePositionPatient=None, PixelSpacing=None)
    for each in (report, screenshot):
        each.SeriesInstanceUID = generate_uid(entropy_srcs=["series", each.Modality])
    save([*datasets, report, screenshot], folder)
    return [Truth(phantom())]


@trap("an MR series", refused="no CT slice")
def magnetic_resonance(folder: Path) -> list[Truth]:
    save([_other_object(each, MRImageStorage, "MR") for each in series()], folder)
    return [Truth(phantom())]


@trap("the slices are screenshots of a CT", refused="no CT slice")
def screenshots(folder: Path) -> list[Truth]:
    objects = [
        _other_object(each, SecondaryCaptureImageStorage, "CT") for each in series()
    ]
    save(change(objects, RescaleSlope=None, RescaleIntercept=None), folder)
    return []


@trap("several frames in a file of a single-frame kind", refused="not an enhanced CT")
def frames_in_a_plain_file(folder: Path) -> list[Truth]:
    datasets = series()
    first = datasets[0]
    first.PixelData = b"".join(each.PixelData for each in datasets)
    change([first], NumberOfFrames=24)
    save([first], folder)
    return [Truth(phantom(), (0, *SPACING_MM[1:]))]


@trap("the header announces more images than are there", warning="announces 30")
def end_missing(folder: Path) -> list[Truth]:
    save(change(series(), ImagesInAcquisition="30"), folder)
    return [Truth(phantom())]


@trap("two patients without an ID", refused="patients")
def names_differ(folder: Path) -> list[Truth]:
    names = ("Smith^Jo", "Jones^Al")
    save(change(series(), PatientID="", PatientName=lambda i: names[i % 2]), folder)
    return []


@trap("original and derived images alternate", refused="kinds of images")
def derived_interleaved(folder: Path) -> list[Truth]:
    kinds = (["ORIGINAL", "PRIMARY", "AXIAL"], ["DERIVED", "SECONDARY", "MPR"])
    save(change(series(), ImageType=lambda i: kinds[i % 2]), folder)
    return []


@trap("slices of two days alternate", refused="days")
def days_interleaved(folder: Path) -> list[Truth]:
    return _interleaved(folder, "AcquisitionDate", ("20260101", "20260404"))


@trap("slices of two breathing phases alternate", refused="phases of breathing")
def breathing_interleaved(folder: Path) -> list[Truth]:
    return _interleaved(folder, "NominalPercentageOfRespiratoryPhase", (20.0, 80.0))


@trap("all slices have the same SOPInstanceUID", refused="same SOPInstanceUID")
def one_instance(folder: Path) -> list[Truth]:
    save(change(series(), SOPInstanceUID="1.2.3.4"), folder)
    return []


@trap("numbers are written differently from slice to slice")
def spellings(folder: Path) -> list[Truth]:
    voltages, kernels = ("120", "120.0"), ("STANDARD", "Standard ")
    change(series_ := series(), KVP=lambda i: voltages[i % 2])
    change(series_, ConvolutionKernel=lambda i: kernels[i % 2])
    change(series_, AcquisitionNumber="01", PatientID=lambda i: ("p 1", "P  1")[i % 2])
    save(series_, folder)
    return [Truth(phantom())]


@trap("some slices lack the tube voltage, the kernel and the birth date")
def elements_missing(folder: Path) -> list[Truth]:
    datasets = series()
    change(datasets, ConvolutionKernel="B30f", PatientBirthDate="19500101")
    change(datasets[::3], KVP=None, ConvolutionKernel=None, PatientBirthDate="")
    save(datasets, folder)
    return [Truth(phantom())]


@trap("each slice is an acquisition of its own")
def acquisition_per_slice(folder: Path) -> list[Truth]:
    save(change(series(), AcquisitionNumber=lambda i: i + 1), folder)
    return [Truth(phantom())]
