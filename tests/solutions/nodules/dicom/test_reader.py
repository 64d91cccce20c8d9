"""Files that a second hostile reader of the traps came up with."""

import io

import numpy as np
import pytest
from PIL import Image
from pydicom import Dataset, dcmwrite
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, JPEGBaseline8Bit, JPEGLosslessSV1

from deepseek_learn.solutions.nodules.dicom import SeriesError, load_series
from deepseek_learn.solutions.nodules.dicom.codestream import END, inspect
from deepseek_learn.solutions.nodules.dicom.writing import change
from tests.solutions.nodules.dicom.traps import phantom, save, series
from tests.solutions.nodules.dicom.traps.enhanced import enhanced
from tests.solutions.nodules.dicom.traps.trap import SPACING_MM

from .lossless_jpeg import encode

COUNT = 6


def compress(folder, code_of, syntax, spoil=None):
    """Write slices with their pixels compressed; one of them is spoiled."""
    datasets = series(phantom(slices=COUNT))
    for index, dataset in enumerate(datasets):
        code = code_of(dataset)
        if spoil is not None and index == 3:
            code = spoil(code)
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([code + b"\0" * (len(code) % 2)])
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dcmwrite(folder / f"{index}", dataset, enforce_file_format=True)


def lossless(dataset):
    dataset.BitsStored, dataset.HighBit = 12, 11
    return encode(dataset.pixel_array.clip(0, 4095), 12)


def baseline(dataset):
    values = (dataset.pixel_array / 16).clip(0, 255).astype("uint8")
    change([dataset], BitsAllocated=8, BitsStored=8, HighBit=7, RescaleSlope="16")
    out = io.BytesIO()
    Image.fromarray(values).save(out, "JPEG", quality=95)
    return out.getvalue()


def cut(fraction):
    return lambda code: code[: int(fraction * len(code))] + END


@pytest.mark.parametrize("fraction", [0.5, 0.95, 0.99])
@pytest.mark.parametrize(
    ("code_of", "syntax"), [(lossless, JPEGLosslessSV1), (baseline, JPEGBaseline8Bit)]
)
def test_an_image_that_breaks_off_before_its_end_marker(
    tmp_path, fraction, code_of, syntax
):
    compress(tmp_path, code_of, syntax, cut(fraction))
    with pytest.raises(SeriesError, match=r"'3': the compressed image breaks off"):
        load_series(tmp_path)


def test_a_complete_lossless_jpeg_is_exact(tmp_path):
    compress(tmp_path, lossless, JPEGLosslessSV1)
    np.testing.assert_array_equal(load_series(tmp_path).hu, phantom(slices=COUNT))


@pytest.mark.parametrize("group", [0, 1])
def test_a_makers_private_sequence_does_not_count(tmp_path, group):
    whole = enhanced(series())
    groups = (
        whole.SharedFunctionalGroupsSequence,
        whole.PerFrameFunctionalGroupsSequence,
    )
    item = Dataset()
    item.PixelSpacing, item.RescaleIntercept = [1.4, 1.4], "0"
    block = groups[group][0].private_block(0x2005, "MAKER", create=True)
    block.add_new(0x0F, "SQ", Sequence([item]))
    save([whole], tmp_path)
    volume = load_series(tmp_path)
    np.testing.assert_allclose(volume.spacing_mm, SPACING_MM)
    np.testing.assert_array_equal(volume.hu, phantom())


@pytest.mark.parametrize("vr", ["OW", "OB"])
def test_big_endian_bytes_in_words(tmp_path, vr):
    expected = np.clip(np.round((phantom() + 1024) / 16), 0, 255)
    for index, dataset in enumerate(series()):
        stored = expected[index].astype("uint8")
        change([dataset], BitsAllocated=8, BitsStored=8, HighBit=7, RescaleSlope="16")
        words = stored.reshape(-1, 2)[:, ::-1] if vr == "OW" else stored
        dataset.PixelData = words.tobytes()
        dataset["PixelData"].VR = vr
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.preamble = bytes(128)
        options = {"implicit_vr": False, "little_endian": False}
        dcmwrite(tmp_path / f"{index}", dataset, force_encoding=True, **options)
    np.testing.assert_array_equal(load_series(tmp_path).hu, 16 * expected - 1024)


@pytest.mark.parametrize(
    ("keyword", "first", "second"),
    [
        ("PatientName", "Doe^John", "Roe^Jane"),
        ("PatientSex", "M", "F"),
        ("AcquisitionDateTime", "20260101120000", "20260301120000"),
        ("SeriesDate", "20260101", "20260301"),
        ("ContentDate", "20260101", "20260301"),
        ("SeriesDescription", "Chest", "Abdomen"),
        ("DeviceSerialNumber", "A1", "B2"),
        ("InstitutionName", "St. Elsewhere", "County General"),
    ],
)
def test_a_mixture_is_refused(tmp_path, keyword, first, second):
    values = {keyword: lambda i: (first, second)[i % 2], "PatientID": "0"}
    save(change(series(), **values), tmp_path)
    with pytest.raises(SeriesError, match=rf"mixes .*{keyword}"):
        load_series(tmp_path)


def test_the_time_of_day_may_change(tmp_path):
    values = {"AcquisitionDateTime": lambda i: f"202601011200{i:02d}.{i}"}
    save(change(series(), **values), tmp_path)
    assert load_series(tmp_path).warnings == ()


def test_slices_acquired_out_of_order_get_a_warning(tmp_path):
    numbers = {"AcquisitionNumber": lambda i: i // 2 + 100 * (i % 2)}
    save(change(series(), **numbers), tmp_path)
    (warning,) = load_series(tmp_path).warnings
    assert "not acquired in the order" in warning


def test_a_lost_part_of_a_concatenation_gets_a_warning(tmp_path):
    datasets = series()
    for number, part in enumerate((datasets[:10], datasets[10:20]), 1):
        whole = enhanced(part)
        whole.SOPInstanceUID = f"1.2.3.{number}"
        whole.file_meta.MediaStorageSOPInstanceUID = whole.SOPInstanceUID
        whole.ConcatenationUID = "1.2.3"
        whole.InConcatenationNumber, whole.InConcatenationTotalNumber = number, 3
        save([whole], tmp_path / f"{number}")
    (warning,) = load_series(tmp_path).warnings
    assert warning == "The series was divided into 3 files, but 2 are there."


def test_projections_get_a_warning(tmp_path):
    save(change(series(), ImageType=["DERIVED", "SECONDARY", "MIP"]), tmp_path)
    (warning,) = load_series(tmp_path).warnings
    assert "projections" in warning


def test_a_jp2_file_does_not_hide_its_loss():
    openjpeg = pytest.importorskip("openjpeg.utils")
    values = phantom(slices=1)[0].astype("int16") + 1024
    code = openjpeg.encode_array(
        values.astype("uint16"), codec_format=1, compression_ratios=[8]
    )
    facts = inspect(bytes(code))
    assert facts.jpeg_2000
    assert facts.lossy
    assert (facts.rows, facts.columns) == values.shape
