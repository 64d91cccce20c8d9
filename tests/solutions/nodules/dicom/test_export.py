"""Findings leave as DICOM objects that a validator accepts."""

import shutil
import subprocess
import warnings
from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest

from deepseek_learn.solutions.nodules.dicom import SeriesError, load_series
from deepseek_learn.solutions.nodules.dicom.export import WARNING, write_findings
from deepseek_learn.solutions.nodules.dicom.writing import change
from deepseek_learn.solutions.nodules.finding import Finding, ball
from tests.services import absent
from tests.solutions.nodules.dicom.traps import save, series, traps


def scan(name, folder):
    traps[name].build(folder)
    return load_series(folder, **traps[name].options)


def findings(volume, count=2):
    center = volume.to_mm(np.array([10, 20, 12]))
    two = [
        Finding(tuple(center), 6.0, 0.93, (5.0, 7.0)),
        Finding(tuple(center + 5), 3.0, 0.5),
    ]
    return two[:count]


@pytest.mark.service
@pytest.mark.parametrize("count", [2, 0])
@pytest.mark.parametrize(
    "name", ["shuffled", "enhanced_ct", "tilt_straightened", "sagittal", "no_preamble"]
)
def test_a_validator_finds_no_error(name, count, tmp_path):
    if not shutil.which("dciodvfy"):
        absent("dciodvfy (Debian: dicom3tools) is not installed")
    volume = scan(name, tmp_path / "scan")
    paths = write_findings(volume, findings(volume, count), tmp_path)
    assert len(paths) == (2 if count else 1)
    for path in paths:
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        lines = (done.stdout + done.stderr).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []


@pytest.mark.parametrize("name", ["shuffled", "sagittal", "tilt_straightened"])
def test_the_segmentation_is_where_the_findings_are(name, tmp_path):
    volume = scan(name, tmp_path / "scan")
    expected = findings(volume)
    seg = hd.seg.segread(write_findings(volume, expected, tmp_path)[0])
    marked = seg.get_volume()
    for index, finding in enumerate(expected):
        voxels = np.argwhere(marked.array[..., index])
        center = marked.map_indices_to_reference(voxels).mean(0)
        mask = ball(volume, finding)
        assert len(voxels) == mask.sum()
        truth = volume.to_mm(np.argwhere(mask)).mean(0)
        np.testing.assert_allclose(center, truth, atol=1e-3)
        assert np.linalg.norm(center - finding.center_mm) < 1
        assert seg.SegmentSequence[index].SegmentLabel == f"Finding {index + 1}"
    assert seg.ContentDescription == WARNING


def test_where_findings_overlap_a_voxel_belongs_to_the_smallest(tmp_path):
    volume = scan("shuffled", tmp_path / "scan")
    large, small = Finding(findings(volume)[0].center_mm, 9.0, 0.5), findings(volume)[0]
    path, _ = write_findings(volume, [large, small], tmp_path)
    seg = hd.seg.segread(path)
    counts = np.bincount(
        seg.get_volume(combine_segments=True).array.ravel(), minlength=3
    )
    inner, outer = ball(volume, small).sum(), ball(volume, large).sum()
    assert [*counts[1:]] == [outer - inner, inner]


def test_the_report_says_that_nothing_was_found(tmp_path):
    volume = scan("shuffled", tmp_path / "scan")
    (path,) = write_findings(volume, [], tmp_path)
    content = hd.sr.srread(path).content
    assert content.get_volumetric_roi_measurement_groups() == []
    (group,) = content.get_image_measurement_groups()
    (evaluation,) = group.get_qualitative_evaluations()
    assert evaluation.value.meaning == "Absent"


def test_a_ball_has_the_volume_of_its_diameter(tmp_path):
    volume = scan("shuffled", tmp_path)
    finding = Finding(tuple(volume.to_mm(np.array([12.2, 24.4, 20.3]))), 12.0, 1.0)
    mm3 = ball(volume, finding).sum() * np.prod(volume.spacing_mm)
    assert mm3 == pytest.approx(np.pi / 6 * 12**3, rel=0.03)
    tiny = Finding(finding.center_mm, 0.1, 1.0)
    assert ball(volume, tiny).sum() == 1


def test_incomplete_headers_are_enough(tmp_path):
    datasets = series()
    for each in datasets:
        for name in ("PatientName", "PatientBirthDate", "StudyID", "AccessionNumber"):
            delattr(each, name)
    save(datasets, tmp_path / "scan")
    volume = load_series(tmp_path / "scan")
    assert len(write_findings(volume, findings(volume), tmp_path)) == 2


def test_findings_need_images_to_refer_to(tmp_path):
    datasets = series()
    for each in datasets:
        del each.StudyInstanceUID
    save(datasets, tmp_path / "scan")
    volume = load_series(tmp_path / "scan")
    with pytest.raises(SeriesError, match="no valid StudyInstanceUID"):
        write_findings(volume, findings(volume), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.service
@pytest.mark.parametrize(
    "elements",
    [
        {"SliceThickness": None},
        {"SliceThickness": "0"},
        {"SpecificCharacterSet": ["", "ISO 2022 IR 87"], "PatientName": "Yamada^Tarou"},
        {"StudyDate": "2026-01-01", "PatientBirthDate": "01.02.50"},
        {"PatientSex": "male", "StudyID": "x" * 40, "PatientAge": "45"},
        {"StudyDescription": "x" * 200, "AccessionNumber": "1" * 30},
        {"PatientName": "Müller^Zoë"},
        {"PatientID": "A\\B"},
    ],
)
def test_odd_headers_give_objects_that_a_validator_accepts(tmp_path, elements):
    if not shutil.which("dciodvfy"):
        absent("dciodvfy (Debian: dicom3tools) is not installed")
    datasets = series()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(change(datasets, **elements), tmp_path / "scan")
        volume = load_series(tmp_path / "scan")
        paths = write_findings(volume, findings(volume), tmp_path)
    for path in paths:
        done = subprocess.run(["dciodvfy", path], capture_output=True, text=True)
        lines = (done.stdout + done.stderr).splitlines()
        assert [line for line in lines if line.startswith("Error")] == []


def test_an_enhanced_series_in_two_files(tmp_path):
    volume = scan("enhanced_in_two_files", tmp_path / "scan")
    assert len(write_findings(volume, findings(volume), tmp_path)) == 2


def test_findings_outside_of_the_volume_are_refused(tmp_path):
    volume = scan("shuffled", tmp_path / "scan")
    (good,) = findings(volume, 1)
    with pytest.raises(ValueError, match="must be in the volume"):
        write_findings(volume, [replace(good, center_mm=(1e6, 0.0, 0.0))], tmp_path)


@pytest.mark.parametrize(
    ("change_of", "sentence"),
    [
        ({"center_mm": (0.0, np.nan, 0.0)}, "center_mm must be three finite numbers"),
        ({"diameter_mm": np.nan}, "diameter_mm must be positive; got nan"),
        ({"probability": 1.5}, "probability must be between 0 and 1; got 1.5"),
        ({"diameters_mm": (9.0, 3.0)}, "two positive numbers in order"),
    ],
)
def test_impossible_findings_are_refused(change_of, sentence):
    with pytest.raises(ValueError, match=sentence):
        replace(Finding((0.0, 0.0, 0.0), 5.0, 1.0), **change_of)
