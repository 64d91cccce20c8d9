"""Geometry, choices and large folders."""

import resource

import numpy as np
import pytest

from deepseek_learn.solutions.nodules.dicom import SeriesError, list_series, load_series
from deepseek_learn.solutions.nodules.dicom.writing import change
from tests.solutions.nodules.dicom.traps import save, series, traps
from tests.solutions.nodules.dicom.traps.trap import SPACING_MM


@pytest.mark.parametrize("name", ["shuffled", "prone", "sagittal", "doubly_oblique"])
def test_a_voxel_is_where_its_slice_says(name, tmp_path):
    traps[name].build(tmp_path)
    volume = load_series(tmp_path)
    header = volume.headers[7]
    position = np.array(header.ImagePositionPatient, float)
    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    expected = position + 5 * SPACING_MM[1] * column + 9 * SPACING_MM[2] * row
    point = volume.to_mm(np.array([7, 5, 9]))
    np.testing.assert_allclose(point, expected, atol=1e-6)
    np.testing.assert_allclose(volume.to_index(point), [7, 5, 9], atol=1e-6)


def test_a_straightened_volume_keeps_its_coordinates(tmp_path):
    traps["tilt_straightened"].build(tmp_path)
    volume = load_series(tmp_path, tilt="resample")
    brightest = np.unravel_index(volume.hu.argmax(), volume.hu.shape)
    header = volume.headers[12]  # the ball's center is pixel [24, 20] of this slice
    row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
    center = np.array(header.ImagePositionPatient, float)
    center = center + 24 * SPACING_MM[1] * column + 20 * SPACING_MM[2] * row
    assert np.linalg.norm(volume.to_mm(np.array(brightest)) - center) < 0.7


@pytest.mark.parametrize(
    ("numbers", "accepted"),
    [
        ([1, 1, 2, 2, 3, 3, 4, 4], False),  # half a slice apart
        ([1, 4, 2, 3, 3, 2, 4, 1], False),  # the second counts the other way
        ([1, 2, 3, 1, 4, 2, 5, 3], False),  # the second begins later
        ([1, 1, 1, 2, 2, 2, 3, 3, 3], False),  # three of them
        ([1, 2, 3, 4, 1, 2, 3, 4], True),  # one above the other
        ([1, 2, 3, 4, 4, 3, 2, 1], True),
        ([4, 1, 3, 2, 6, 5], True),  # in any order, but each once
        ([5, 5, 5, 5], True),
        ([None, 1, 2, None, 3], True),
        ([1, 2, 3, 3, 4, 5], True),  # one number twice, in order
    ],
)
def test_numbers_tell_reconstructions_that_overlap(tmp_path, numbers, accepted):
    datasets = change(series()[: len(numbers)], InstanceNumber=lambda i: numbers[i])
    save(datasets, tmp_path)
    if accepted:
        assert len(load_series(tmp_path).hu) == len(numbers)
        return
    with pytest.raises(SeriesError, match=r"same InstanceNumber, .* that overlap"):
        load_series(tmp_path)


@pytest.mark.parametrize(
    ("spacing", "accepted"),
    [(0.0949, False), (0.0977, True), (2.734, True), (3.0, True), (3.01, False)],
)
def test_only_a_spacing_of_the_field_is_read(tmp_path, spacing, accepted):
    save(change(series(), PixelSpacing=["0.7", str(spacing)]), tmp_path)
    if accepted:
        assert load_series(tmp_path).spacing_mm[2] == pytest.approx(spacing)
        return
    with pytest.raises(SeriesError, match=rf"got \[0\.7, {spacing}\]"):
        load_series(tmp_path)


def test_series_are_listed(tmp_path):
    traps["two_series"].build(tmp_path)
    first, second = list_series(tmp_path)
    assert {first.slices, second.slices} == {24}
    assert load_series(tmp_path, series_uid=second.uid).series_uid == second.uid


def test_bad_options_get_a_sentence(tmp_path):
    save(series(), tmp_path)
    with pytest.raises(ValueError, match="gaps must be 'refuse' or 'interpolate'"):
        load_series(tmp_path, gaps="fill")
    with pytest.raises(ValueError, match="tilt must be 'refuse' or 'resample'"):
        load_series(tmp_path, tilt=True)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_series(tmp_path / "nowhere")


@pytest.fixture
def few_open_files():
    """At most 256 at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.usefixtures("few_open_files")
def test_more_files_than_a_process_may_keep_open(tmp_path):
    (dataset,) = series(np.zeros((1, 4, 4), "float32"))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.30000"
    dataset.ImagePositionPatient = ["-120", "-110", "30000.5"]
    (path,) = save([dataset], tmp_path)
    content = path.read_bytes()
    path.unlink()
    for number in range(10_000, 10_500):  # patched, since writing them takes longer
        height, uid = b"%d.5" % number, b"1.2.%d" % number
        patched = content.replace(b"30000.5", height).replace(b"1.2.30000", uid)
        (tmp_path / f"{number}").write_bytes(patched)
    volume = load_series(tmp_path)
    assert volume.hu.shape == (500, 4, 4)
    assert volume.spacing_mm[0] == pytest.approx(1)
    assert volume.origin_mm == (-120.0, -110.0, 10000.5)


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    from deepseek_learn.solutions.nodules.dicom import series as module

    paths = save(series(), tmp_path)
    choose = module.choose

    def swap(*arguments):
        chosen = choose(*arguments)
        first, second = paths[0].read_bytes(), paths[1].read_bytes()
        paths[0].write_bytes(second)
        paths[1].write_bytes(first)
        return chosen

    monkeypatch.setattr(module, "choose", swap)
    with pytest.raises(SeriesError, match="has changed while it was being read"):
        load_series(tmp_path)
