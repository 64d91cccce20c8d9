"""Traps: how the pixels are stored, and what their values mean."""

from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmwrite
from pydicom.encaps import encapsulate, generate_frames
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from deepseek_learn.solutions.nodules.dicom.writing import change

from .trap import SPACING_MM, Truth, phantom, save, series, trap, write_raw


def _store(dataset: Dataset, values: np.ndarray, **elements: object) -> None:
    """Replace the pixels of a dataset by values as they are stored."""
    dataset.PixelData = values.tobytes() + b"\0" * (values.nbytes % 2)
    change([dataset], **elements)


def _stored(dataset: Dataset) -> np.ndarray:
    values = np.frombuffer(dataset.PixelData, "<u2")
    return values.reshape(dataset.Rows, dataset.Columns).copy()


def _encoded(folder: Path, syntax: str) -> list[Truth]:
    save(series(), folder, syntax)
    return [Truth(phantom())]


@trap("implicit value representations")
def implicit_vr(folder: Path) -> list[Truth]:
    return _encoded(folder, ImplicitVRLittleEndian)


@trap("big-endian bytes")
def big_endian(folder: Path) -> list[Truth]:
    return _encoded(folder, ExplicitVRBigEndian)


@trap("deflated files")
def deflated(folder: Path) -> list[Truth]:
    return _encoded(folder, DeflatedExplicitVRLittleEndian)


@trap("run-length encoding")
def rle(folder: Path) -> list[Truth]:
    return _encoded(folder, RLELossless)


@trap("lossless JPEG-LS")
def jpeg_ls(folder: Path) -> list[Truth]:
    return _encoded(folder, JPEGLSLossless)


@trap("lossless JPEG 2000")
def jpeg_2000(folder: Path) -> list[Truth]:
    return _encoded(folder, JPEG2000Lossless)


@trap("each slice in another encoding")
def mixed_encodings(folder: Path) -> list[Truth]:
    datasets = series()
    for index, syntax in enumerate((RLELossless, JPEGLSLossless, JPEG2000Lossless)):
        for dataset in datasets[index::4]:
            dataset.compress(syntax, generate_instance_uid=False)
    save(datasets, folder)
    return [Truth(phantom())]


@trap("near-lossless JPEG-LS: values differ by up to 3", warning="with loss")
def near_lossless(folder: Path) -> list[Truth]:
    import jpeg_ls

    datasets = series()
    for dataset in datasets:
        code = bytes(jpeg_ls.encode_array(_stored(dataset), lossy_error=3))
        dataset.PixelData = encapsulate([code])
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLSNearLossless
    save(datasets, folder)
    return [Truth(phantom(), tolerance_hu=3)]


@trap("the header says that the images were compressed with loss", warning="with loss")
def lossy_once(folder: Path) -> list[Truth]:
    save(change(series(), LossyImageCompression="01"), folder)
    return [Truth(phantom())]


@trap("signed values with slope 2")
def signed_with_slope(folder: Path) -> list[Truth]:
    hu = np.round(phantom() / 2) * 2
    datasets = series(hu)
    for dataset, image in zip(datasets, hu, strict=True):
        _store(dataset, (image / 2).astype("<i2"), PixelRepresentation=1)
    save(change(datasets, RescaleSlope="2", RescaleIntercept="0"), folder)
    return [Truth(hu)]


@trap("slope and intercept are different in each slice, as in PET scanners' CT")
def rescale_varies(folder: Path) -> list[Truth]:
    datasets, hu = series(), phantom()
    for index, (dataset, image) in enumerate(zip(datasets, hu, strict=True)):
        intercept = -1024 - index
        stored = (image - intercept).astype("<u2")
        _store(dataset, stored, RescaleIntercept=str(intercept))
    save(datasets, folder)
    return [Truth(hu)]


@trap("signed and unsigned slices in one series")
def representation_varies(folder: Path) -> list[Truth]:
    datasets, hu = series(), phantom()
    for dataset, image in list(zip(datasets, hu, strict=True))[::3]:
        signed = image.astype("<i2")
        _store(dataset, signed, PixelRepresentation=1, RescaleIntercept="0")
    save(datasets, folder)
    return [Truth(hu)]


@trap("12 bits stored; the unused bits hold an overlay", warning="not in use")
def overlay_in_unused_bits(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        stored = _stored(dataset)
        stored[10:20, 10:20] |= 0xF000
        _store(dataset, stored, BitsStored=12, HighBit=11)
    save(datasets, folder)
    return [Truth(phantom())]


@trap("12 signed bits stored, without sign extension", warning="not in use")
def twelve_signed_bits(folder: Path) -> list[Truth]:
    hu = phantom().clip(-1024, 1023)
    datasets = series(hu)
    for dataset, image in zip(datasets, hu, strict=True):
        stored = image.astype("<i2").view("<u2") & 0x0FFF
        _store(dataset, stored, BitsStored=12, HighBit=11, PixelRepresentation=1)
    save(change(datasets, RescaleIntercept="0"), folder)
    return [Truth(hu)]


@trap("8 bits and an odd number of pixels, so one byte of padding")
def odd_length(folder: Path) -> list[Truth]:
    hu = np.round(phantom()[:, :47, :39] / 8).clip(-128, 127) * 8
    datasets = series(hu)
    for dataset, image in zip(datasets, hu, strict=True):
        _store(dataset, (image / 8 + 128).astype("u1"))
    eight = {"BitsAllocated": 8, "BitsStored": 8, "HighBit": 7}
    change(datasets, RescaleSlope="8", RescaleIntercept="-1024", **eight)
    save(datasets, folder)
    return [Truth(hu)]


@trap("RescaleSlope and RescaleIntercept are missing", refused="RescaleSlope")
def no_rescale(folder: Path) -> list[Truth]:
    save(change(series(), RescaleSlope=None, RescaleIntercept=None), folder)
    return []


@trap("RescaleIntercept is missing in one slice", refused="RescaleSlope")
def no_intercept_in_one(folder: Path) -> list[Truth]:
    datasets = series()
    change([datasets[7]], RescaleIntercept=None)
    save(datasets, folder)
    return [Truth(phantom())]


@trap("RescaleSlope is 0", refused="RescaleSlope must be positive")
def slope_zero(folder: Path) -> list[Truth]:
    save(change(series(), RescaleSlope="0"), folder)
    return []


@trap("RescaleIntercept is not a number", refused="RescaleIntercept is not numeric")
def intercept_malformed(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        write_raw(dataset, "RescaleIntercept", "-1024 HU")
    save(datasets, folder)
    return []


@trap("values in an unspecified unit", refused="not in HU")
def unit_unspecified(folder: Path) -> list[Truth]:
    save(change(series(), RescaleType="US"), folder)
    return []


@trap("values in milligrams of hydroxyapatite", refused="not in HU")
def unit_of_bone(folder: Path) -> list[Truth]:
    save(change(series(), RescaleType="MGML"), folder)
    return []


@trap("values are mapped by a table", refused="Modality LUT")
def modality_lut(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        table = Dataset()
        table.LUTDescriptor = [256, 0, 16]
        table.ModalityLUTType = "HU"
        table.LUTData = np.arange(256, dtype="<u2").tobytes()
        table["LUTData"].VR = "OW"
        table["LUTDescriptor"].VR = "US"
        dataset.ModalityLUTSequence = Sequence([table])
    save(datasets, folder)
    return []


@trap("MONOCHROME1, which inverts the display only", warning="MONOCHROME1")
def monochrome1(folder: Path) -> list[Truth]:
    save(change(series(), PhotometricInterpretation="MONOCHROME1"), folder)
    return [Truth(phantom())]


@trap("the images claim to be color images", refused="not a gray-scale image")
def rgb(folder: Path) -> list[Truth]:
    save(change(series(), PhotometricInterpretation="RGB"), folder)
    return [Truth(phantom())]


@trap("color images", refused="not a gray-scale image")
def really_rgb(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        values = np.zeros((48, 40, 3), "u1")
        _store(dataset, values, PhotometricInterpretation="RGB", SamplesPerPixel=3)
    color = {
        "BitsAllocated": 8,
        "BitsStored": 8,
        "HighBit": 7,
        "PlanarConfiguration": 0,
    }
    save(change(datasets, **color), folder)
    return []


def _padded(folder: Path, padding: int, value: int) -> list[Truth]:
    """Signed slices whose first rows are padding.

    A reader that returns what is stored is right, too, if nobody takes it for tissue.
    """
    hu = phantom()
    datasets = series(hu)
    for dataset, image in zip(datasets, hu, strict=True):
        stored = image.astype("<i2")
        stored[:8] = padding
        _store(dataset, stored, PixelRepresentation=1, PixelPaddingValue=value)
        dataset["PixelPaddingValue"].VR = "SS" if value < 0 else "US"
    save(change(datasets, RescaleIntercept="0"), folder)
    hu[:, :8] = padding
    unchanged = Truth(hu.copy())
    hu[:, :8] = -1024
    return [Truth(hu), unchanged] if padding < -1024 else [Truth(hu)]


@trap("pixels outside the field of view hold a padding value, -2000")
def padding(folder: Path) -> list[Truth]:
    return _padded(folder, -2000, -2000)


@trap("the padding value -2000 is written as an unsigned number")
def padding_unsigned(folder: Path) -> list[Truth]:
    return _padded(folder, -2000, 2**16 - 2000)


@trap("the padding value looks like metal")
def padding_high(folder: Path) -> list[Truth]:
    return _padded(folder, 4000, 4000)


@trap("there are fewer pixels than the header states", refused="bytes of pixels")
def pixels_truncated(folder: Path) -> list[Truth]:
    datasets = series()
    datasets[5].PixelData = datasets[5].PixelData[:1000]
    save(datasets, folder)
    return []


@trap("the header states half of the rows", refused="bytes of pixels")
def rows_halved(folder: Path) -> list[Truth]:
    save(change(series(), Rows=24), folder)
    return []


@trap("one slice has other rows", refused="image sizes")
def rows_differ(folder: Path) -> list[Truth]:
    datasets = series()
    _store(datasets[7], _stored(datasets[7])[:24], Rows=24)
    save(datasets, folder)
    return []


@trap("one slice has no pixels", refused="no pixel data")
def pixels_missing(folder: Path) -> list[Truth]:
    datasets = series()
    change([datasets[3]], PixelData=None)
    save(datasets, folder)
    return []


@trap("the header states 65,535 x 65,535 pixels", refused="at most 4096")
def size_absurd(folder: Path) -> list[Truth]:
    save(change(series(), Rows=65535, Columns=65535), folder)
    return []


@trap("16 bits are stored in 12", refused="contradict each other")
def bits_contradict(folder: Path) -> list[Truth]:
    save(change(series(), BitsStored=12, HighBit=15), folder)
    return []


@trap("a JPEG-LS image breaks off in the middle", refused="breaks off")
def jpeg_ls_truncated(folder: Path) -> list[Truth]:
    return _broken(folder, JPEGLSLossless)


@trap(
    "a run-length encoded image breaks off in the middle", refused="cannot be decoded"
)
def rle_truncated(folder: Path) -> list[Truth]:
    return _broken(folder, RLELossless)


@trap("a JPEG 2000 image breaks off in the middle", refused="breaks off")
def jpeg_2000_truncated(folder: Path) -> list[Truth]:
    return _broken(folder, JPEG2000Lossless)


def _broken(folder: Path, syntax: str) -> list[Truth]:
    """Compressed slices; one image has only its first half."""
    datasets = series()
    for dataset in datasets:
        dataset.compress(syntax, generate_instance_uid=False)
    code = next(generate_frames(datasets[9].PixelData, number_of_frames=1))
    datasets[9].PixelData = encapsulate([code[: len(code) // 4 * 2]])
    save(datasets, folder)
    return []


@trap("rows and columns have different distances")
def pixels_not_square(folder: Path) -> list[Truth]:
    spacing = (SPACING_MM[0], 0.9, 0.6)
    save(series(spacing_mm=spacing), folder)
    return [Truth(phantom(), spacing)]


@trap("big-endian files that do not state their encoding")
def big_endian_unstated(folder: Path) -> list[Truth]:
    folder.mkdir(parents=True, exist_ok=True)
    for index, dataset in enumerate(series()):
        dataset.PixelData = _stored(dataset).astype(">u2").tobytes()
        del dataset.file_meta
        dataset.preamble = bytes(128)
        options = {"implicit_vr": False, "little_endian": False, "force_encoding": True}
        dcmwrite(folder / f"{index}.dcm", dataset, **options)
    return [Truth(phantom())]


@trap("12 bits stored; the padding uses all 16")
def padding_in_unused_bits(folder: Path) -> list[Truth]:
    hu = phantom().clip(-1024, 1023)
    datasets = series(hu)
    for dataset, image in zip(datasets, hu, strict=True):
        stored = image.astype("<i2")
        stored[:8] = -32768
        _store(dataset, stored, PixelRepresentation=1, PixelPaddingValue=-32768)
        dataset["PixelPaddingValue"].VR = "SS"
    save(change(datasets, RescaleIntercept="0", BitsStored=12, HighBit=11), folder)
    hu[:, :8] = -1024
    return [Truth(hu)]


@trap("the padding value is that of water", warning="tissue has as well")
def padding_like_tissue(folder: Path) -> list[Truth]:
    datasets = series()
    change(datasets, PixelPaddingValue=1024)
    save(datasets, folder)
    return [Truth(phantom())]


@trap("a value needs more bits than are stated", warning="not in use")
def values_above_bits(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        stored = _stored(dataset)
        stored[0, 0] |= 0x1000
        _store(dataset, stored, BitsStored=12, HighBit=11)
    save(datasets, folder)
    return [Truth(phantom())]


@trap(
    "rows and columns are swapped in the header", refused="but the compressed image has"
)
def size_swapped(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    save(change(datasets, Rows=40, Columns=48), folder)
    return []


@trap("half of a JPEG-LS image, with its end marker", refused="cannot be decoded")
def half_jpeg_ls(folder: Path) -> list[Truth]:
    datasets = series()
    for dataset in datasets:
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    code = next(generate_frames(datasets[9].PixelData, number_of_frames=1))
    half = code[: len(code) // 4 * 2] + b"\xff\xd9"
    datasets[9].PixelData = encapsulate([half])
    save(datasets, folder)
    return []


@trap("near-lossless JPEG-LS that claims to be lossless", warning="with loss, so")
def near_lossless_hidden(folder: Path) -> list[Truth]:
    truths = near_lossless(folder)
    for path in folder.iterdir():
        content = path.read_bytes()
        near, without = b"1.2.840.10008.1.2.4.81", b"1.2.840.10008.1.2.4.80"
        path.write_bytes(content.replace(near, without, 1))
    return truths


@trap("the intercept is impossibly large", refused="RescaleIntercept")
def intercept_absurd(folder: Path) -> list[Truth]:
    save(change(series(), RescaleIntercept="1e300"), folder)
    return []
