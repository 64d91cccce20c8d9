"""Traps: enhanced CT, in which one file holds all slices."""

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import EnhancedCTImageStorage

from deepseek_learn.solutions.nodules.dicom.writing import change

from .trap import Truth, phantom, save, series, trap, write_raw

GROUPS = {
    "PixelMeasuresSequence": ("PixelSpacing", "SliceThickness"),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PixelValueTransformationSequence": (
        "RescaleSlope",
        "RescaleIntercept",
        "RescaleType",
    ),
}
PER_FRAME = ("PlanePositionSequence", "PixelValueTransformationSequence")


def enhanced(datasets: Sequence[Dataset]) -> Dataset:
    """Return slices as one enhanced CT object with a frame per slice."""
    shared, frames = Dataset(), [Dataset() for _ in datasets]
    for name, keywords in GROUPS.items():
        if name in PER_FRAME:
            for frame, dataset in zip(frames, datasets, strict=True):
                setattr(frame, name, [_only(dataset, keywords)])
        else:
            setattr(shared, name, [_only(datasets[0], keywords)])
    whole = datasets[0]
    pixels = b"".join(each.PixelData for each in datasets)
    for keywords in GROUPS.values():
        change([whole], **dict.fromkeys(keywords))
    whole.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    change(
        [whole],
        SOPClassUID=EnhancedCTImageStorage,
        NumberOfFrames=len(datasets),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
        PixelData=pixels,
    )
    return whole


def _only(dataset: Dataset, keywords: Sequence[str]) -> Dataset:
    item = Dataset()
    for keyword in keywords:
        if keyword in dataset:
            item.add(dataset[keyword])
    return item


@trap("an enhanced CT: one file with 24 frames")
def enhanced_ct(folder: Path) -> list[Truth]:
    save([enhanced(series())], folder)
    return [Truth(phantom())]


@trap("the frames of an enhanced CT are in another order")
def enhanced_shuffled(folder: Path) -> list[Truth]:
    datasets = series()
    save([enhanced(datasets[1::2] + datasets[::2])], folder)
    return [Truth(phantom())]


@trap("each frame of an enhanced CT has its own intercept")
def enhanced_rescale_varies(folder: Path) -> list[Truth]:
    datasets, hu = series(), phantom()
    for index, (dataset, image) in enumerate(zip(datasets, hu, strict=True)):
        intercept = -1024 - index
        pixels = (image - intercept).astype("<u2").tobytes()
        change([dataset], RescaleIntercept=str(intercept), PixelData=pixels)
    save([enhanced(datasets)], folder)
    return [Truth(hu)]


@trap("an enhanced CT in two files")
def enhanced_in_two_files(folder: Path) -> list[Truth]:
    datasets = series(uid_seed="one")
    save([enhanced(datasets[:12]), enhanced(datasets[12:])], folder)
    return [Truth(phantom())]


@trap("a frame of an enhanced CT is missing", refused="unevenly spaced")
def enhanced_frame_missing(folder: Path) -> list[Truth]:
    datasets = series()
    save([enhanced(datasets[:10] + datasets[11:])], folder)
    return []


@trap("a frame of an enhanced CT has no position", refused="no ImagePositionPatient")
def enhanced_position_missing(folder: Path) -> list[Truth]:
    datasets = series()
    change([datasets[5]], ImagePositionPatient=None)
    save([enhanced(datasets)], folder)
    return [Truth(phantom())]


@trap("an enhanced CT with two phases of the same places", refused="same place")
def enhanced_two_phases(folder: Path) -> list[Truth]:
    save([enhanced(series() + series(phantom(seed=1) + 60))], folder)
    return [Truth(phantom()), Truth(phantom(seed=1) + 60)]


@trap("an enhanced CT describes fewer frames than it has", refused="describes 23")
def enhanced_frames_undescribed(folder: Path) -> list[Truth]:
    whole = enhanced(series())
    del whole.PerFrameFunctionalGroupsSequence[-1]
    save([whole], folder)
    return []


@trap("an enhanced CT breaks off in its pixels", refused="bytes of pixels")
def enhanced_truncated(folder: Path) -> list[Truth]:
    path = save([enhanced(series())], folder)[0]
    path.write_bytes(path.read_bytes()[:-3000])
    return []


@trap("one frame of an enhanced CT is a localizer", warning="localizer")
def enhanced_localizer(folder: Path) -> list[Truth]:
    datasets = series()
    whole = enhanced(datasets)
    for index, group in enumerate(whole.PerFrameFunctionalGroupsSequence):
        item = Dataset()
        item.FrameType = ["ORIGINAL", "PRIMARY", "VOLUME" if index else "LOCALIZER"]
        group.CTImageFrameTypeSequence = [item]
    save([whole], folder)
    return [Truth(phantom()[1:])]


@trap("NumberOfFrames is not a number", refused="NumberOfFrames is not numeric")
def enhanced_frames_malformed(folder: Path) -> list[Truth]:
    whole = enhanced(series())
    write_raw(whole, "NumberOfFrames", "abc")
    save([whole], folder)
    return [Truth(phantom())]
