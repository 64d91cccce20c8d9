"""A copy for sharing: nothing that identifies the patient, and the same volume."""

import re

import numpy as np
import pydicom
import pytest

from deepseek_learn.solutions.nodules.dicom import SeriesError, anonymize, load_series
from deepseek_learn.solutions.nodules.dicom.writing import change
from tests.solutions.nodules.dicom.traps import phantom, save, series, traps
from tests.solutions.nodules.dicom.traps.trap import write_raw

NAME = "Zachariasewicz^Ermentrude"
SECRETS = ("Zachariasewicz", "Ermentrude", "MRN-77123", "19410317", "St. Elsewhere")


def revealing():
    """A series with the patient's identity in every place that comes to mind."""
    datasets = series()
    change(
        datasets,
        PatientName=NAME,
        PatientID="MRN-77123",
        PatientBirthDate="19410317",
        InstitutionName="St. Elsewhere",
        PatientComments="called MRN-77123 by mistake",
        ImageComments="Ermentrude, second try",
        ProtocolName="Chest Zachariasewicz",
        ConvolutionKernel="B30f ERMENTRUDE",
        ContrastBolusAgent="as St. Elsewhere has it",
        OtherPatientIDs="MRN-77123",
    )
    for dataset in datasets:
        block = dataset.private_block(0x0019, "Zachariasewicz", create=True)
        block.add_new(1, "LO", NAME)
        item = pydicom.Dataset()
        item.PatientID = "MRN-77123"
        dataset.OtherPatientIDsSequence = [item]
        dataset.RequestAttributesSequence = [pydicom.Dataset()]
        dataset.RequestAttributesSequence[0].ScheduledProcedureStepDescription = NAME
        dataset.file_meta.SourceApplicationEntityTitle = "Ermentrude"
        dataset.preamble = b"Zachariasewicz".ljust(128, b"\0")
        dataset.add_new(0x60003000, "OW", b"Zachariasewicz")
        dataset.add_new(0x0020000E, "UI", dataset.SeriesInstanceUID)
        dataset.TableHeight = "150"
        write_raw(dataset, "TableHeight", "150 Ermentrude")
    return datasets


def test_nothing_that_identifies_the_patient_stays(tmp_path):
    datasets = revealing()
    uids = {each.SOPInstanceUID for each in datasets} | {datasets[0].StudyInstanceUID}
    save(datasets, tmp_path / "Zachariasewicz")
    result = anonymize(tmp_path / "Zachariasewicz", tmp_path / "out")
    assert result.files == 24
    for path in (tmp_path / "out").iterdir():
        content = path.read_bytes()
        for secret in SECRETS:
            assert not re.search(re.escape(secret).encode(), content, re.I), secret
        assert not any(uid.encode() in content for uid in uids)
        assert content[:128] == bytes(128)
        dataset = pydicom.dcmread(path)
        assert dataset.PatientIdentityRemoved == "YES"
        assert not any(element.tag.is_private for element in dataset)
        assert dataset.StudyDate == ""


@pytest.mark.parametrize(
    "name", ["shuffled", "enhanced_rescale_varies", "jpeg_ls", "padding", "sagittal"]
)
def test_the_volume_is_the_same(name, tmp_path):
    truths = traps[name].build(tmp_path / "scan")
    anonymize(tmp_path / "scan", tmp_path / "out")
    volume = load_series(tmp_path / "out")
    assert truths[0].matches(volume.hu, volume.spacing_mm)
    original = load_series(tmp_path / "scan")
    np.testing.assert_allclose(volume.directions, original.directions)
    np.testing.assert_allclose(volume.origin_mm, original.origin_mm)


def test_the_same_key_gives_the_same_identifiers(tmp_path):
    save(series(uid_seed="one"), tmp_path / "scan")
    ids = []
    for number, key in enumerate(("a", "a", "b", None, None)):
        anonymize(tmp_path / "scan", tmp_path / str(number), key=key)
        dataset = pydicom.dcmread(tmp_path / str(number) / "IM00000.dcm")
        ids.append((dataset.SeriesInstanceUID, dataset.PatientID))
    assert ids[0] == ids[1]
    assert len(set(ids)) == 4


def test_other_objects_are_not_copied(tmp_path):
    traps["other_objects"].build(tmp_path / "scan")
    (tmp_path / "scan" / "letter.txt").write_text(NAME)
    result = anonymize(tmp_path / "scan", tmp_path / "out")
    assert result.files == 24
    assert len(result.left_out) == 3


def test_burned_in_text_is_pointed_out(tmp_path):
    hu = phantom()
    save(series(hu), tmp_path / "clean")
    assert anonymize(tmp_path / "clean", tmp_path / "a").warnings == ()
    hu[:, 1:3, 2:20:2] = 1000  # strokes in a corner
    save(series(hu), tmp_path / "text")
    (note,) = anonymize(tmp_path / "text", tmp_path / "b").warnings
    assert "may be text" in note
    save(change(series(), BurnedInAnnotation="YES"), tmp_path / "flag")
    (note,) = anonymize(tmp_path / "flag", tmp_path / "c").warnings
    assert "The header says" in note


def test_bad_input_gets_a_sentence(tmp_path):
    save(series(), tmp_path / "scan")
    with pytest.raises(ValueError, match="must not be in the folder"):
        anonymize(tmp_path / "scan", tmp_path / "scan" / "out")
    with pytest.raises(ValueError, match="must be a new or an empty folder"):
        anonymize(tmp_path / "scan", tmp_path)
    with pytest.raises(ValueError, match="key must not be empty"):
        anonymize(tmp_path / "scan", tmp_path / "out", key="")
    traps["magnetic_resonance"].build(tmp_path / "mr")
    with pytest.raises(SeriesError, match="no CT image"):
        anonymize(tmp_path / "mr", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ConvolutionKernel", "Wu B30f"),
        ("ScanOptions", "LI"),
        ("ManufacturerModelName", "MRN77123"),
        ("Manufacturer", "Zachariasewicz"),
        ("ImageType", ["ORIGINAL", "PRIMARY", "ZACHARIASEWICZ"]),
        ("BodyPartExamined", "ERMENTRUDE"),
        ("SeriesNumber", 77123),
        ("InstanceNumber", 19410317),
        ("XRayTubeCurrent", 77123),
        ("SeriesDescription", "Zachariasewicz"),
        ("ImageComments", "Wu"),
        ("StudyDate", "20250411"),
    ],
)
def test_no_text_or_number_of_the_patient_stays(tmp_path, keyword, value):
    datasets = series()
    change(datasets, PatientName="Wu^Li", PatientID="MRN-77123", **{keyword: value})
    save(change(datasets, PatientBirthDate="19410317"), tmp_path / "scan")
    anonymize(tmp_path / "scan", tmp_path / "out")
    copy = pydicom.dcmread(tmp_path / "out" / "IM00003.dcm")
    words = [value] if not isinstance(value, list) else value[2:]
    for element in copy.iterall():
        if element.keyword != "PixelData":
            assert not any(str(word) in str(element.value) for word in words)


def test_pixels_hide_nothing(tmp_path):
    datasets = series()
    for each in datasets[:12]:
        stored = np.frombuffer(each.PixelData, "<u2") | 0x8000  # an overlay
        each.PixelData = stored.tobytes()
    change(datasets, BitsStored=12, HighBit=11)
    for each in datasets[12:]:
        each.compress("1.2.840.10008.1.2.4.80", generate_instance_uid=False)
        code = next(pydicom.encaps.generate_frames(each.PixelData, number_of_frames=1))
        secret = b"Zachariasewicz"
        comment = b"\xff\xfe" + (len(secret) + 2).to_bytes(2, "big") + secret
        code = code[:2] + comment + code[2:]
        each.PixelData = pydicom.encaps.encapsulate([code + b"\0" * (len(code) % 2)])
    paths = save(datasets, tmp_path / "scan")
    assert any(b"Zachariasewicz" in path.read_bytes() for path in paths)
    anonymize(tmp_path / "scan", tmp_path / "out")
    for path in (tmp_path / "out").iterdir():
        assert b"Zachariasewicz" not in path.read_bytes()
        stored = np.frombuffer(pydicom.dcmread(path).PixelData, "<u2")
        assert stored.max() < 2**12
    volume = load_series(tmp_path / "out")
    np.testing.assert_array_equal(volume.hu, phantom())


@pytest.mark.parametrize("name", ["Mary^Prim", "Ono^Rome", "Hfs^Hu"])
def test_a_name_that_is_part_of_a_keyword_does_no_harm(tmp_path, name):
    save(change(series(), PatientName=name), tmp_path / "scan")
    anonymize(tmp_path / "scan", tmp_path / "out")
    np.testing.assert_array_equal(load_series(tmp_path / "out").hu, phantom())


def test_a_mixture_is_refused_and_nothing_is_written(tmp_path):
    traps["two_patients"].build(tmp_path / "scan")
    with pytest.raises(SeriesError, match="patients"):
        anonymize(tmp_path / "scan", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["scan"]


def same(tmp_path):
    """Anonymize the series, and return both volumes and the result."""
    before = load_series(tmp_path / "in")
    result = anonymize(tmp_path / "in", tmp_path / "out")
    after = load_series(tmp_path / "out")
    np.testing.assert_allclose(after.spacing_mm, before.spacing_mm)
    assert np.array_equal(after.hu, before.hu)
    return before, after, result


@pytest.mark.parametrize(
    "identity",
    [
        {"StudyID": "1024"},
        {"PatientID": "1024"},
        {"AccessionNumber": "2026-1024"},
        {"DeviceSerialNumber": "1024"},
    ],
)
def test_numbers_that_the_volume_needs_stay(tmp_path, identity):
    save(change(series(), **identity), tmp_path / "in")
    before, after, _ = same(tmp_path)
    assert after.hu.shape == before.hu.shape == phantom().shape


def test_a_padding_value_with_the_digits_of_an_id_stays(tmp_path):
    hu = phantom()
    hu[:, 0, 0] = -976  # stored as -2000 below
    datasets = series(hu)
    for dataset in datasets:
        stored = dataset.pixel_array.astype("int16") - 1024
        stored[0, 0] = -2000
        dataset.PixelData = stored.tobytes()
    change(datasets, PixelRepresentation=1, RescaleIntercept="0", StudyID="2000")
    for dataset in datasets:
        dataset.add_new("PixelPaddingValue", "SS", -2000)
    save(datasets, tmp_path / "in")
    _, after, _ = same(tmp_path)
    assert after.hu[3, 0, 0] == -1024


@pytest.mark.parametrize("name", ["enhanced_localizer", "spellings"])
def test_traps_that_can_be_read_can_be_shared(tmp_path, name):
    traps[name].build(tmp_path / "in")
    before, after, _ = same(tmp_path)
    assert after.hu.shape == before.hu.shape


@pytest.mark.parametrize("name", ["near_lossless", "near_lossless_hidden"])
def test_loss_is_not_forgotten(tmp_path, name):
    traps[name].build(tmp_path / "in")
    _, after, result = same(tmp_path)
    for warnings in (after.warnings, result.warnings):
        assert any("with loss" in each for each in warnings)


def test_patients_without_an_id_stay_apart(tmp_path):
    identities = set()
    for name in ("Doe^John", "Roe^Jane"):
        place = tmp_path / name
        save(change(series(), PatientID="", PatientName=name), place)
        anonymize(place, tmp_path / f"out {name}", key="a secret")
        path = next((tmp_path / f"out {name}").iterdir())
        identities.add(pydicom.dcmread(path).PatientID)
    assert len(identities) == 2
    assert all(len(each) == 17 for each in identities)
