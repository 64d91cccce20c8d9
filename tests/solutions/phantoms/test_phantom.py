"""Phantoms: real shapes in visible places, split by patient, the same by seed."""

from pathlib import Path

import numpy as np
import pytest

from deepseek_learn.solutions.phantoms import chest, scans, trees
from deepseek_learn.solutions.phantoms import nodule_shapes as nodule_shapes_module
from deepseek_learn.solutions.phantoms.nodule_shapes import nodule_shapes
from deepseek_learn.solutions.phantoms.phantom import ELSEWHERE, HOME, scan

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def made():
    return scans.training_scan(0)


def test_the_shapes_are_those_that_luna16_counts():
    shapes = nodule_shapes()
    assert len(shapes) == 1193  # in scans of up to 2.5 mm, by at least three readers
    assert shapes.table["patient"].nunique() == 606
    for index in (0, 500, 1192):
        mask = shapes.mask(index)
        edges = [mask.any(axis=(1, 2)), mask.any(axis=(0, 2)), mask.any(axis=(0, 1))]
        assert all(edge[0] and edge[-1] for edge in edges)  # no margin
        mm3 = mask.sum() * 0.5**3
        diameter = (6 * mm3 / np.pi) ** (1 / 3)
        assert diameter == pytest.approx(shapes.table["diameter_mm"][index], rel=0.4)


def test_an_outline_of_one_point_is_that_voxel():
    """Readers mark a nodule below 3 mm by a point."""
    square = np.array([[8, 5], [11, 5], [11, 9], [8, 9]])
    polygons = [(True, 0.0, square), (True, 1.0, np.array([[9, 6]]))]
    mask = nodule_shapes_module._Outline((), polygons, 0.5, 1.0).mask()
    assert mask.any(axis=(1, 2)).tolist() == [False, True, True, False]
    assert np.argwhere(mask[2]).tolist() == [[6 - 5 + 2, 9 - 8 + 2]]  # y, x


def test_no_patient_is_on_both_sides_of_the_split():
    parts = scans.split_shapes()
    patient = nodule_shapes().table["patient"].to_numpy()
    patients = [set(patient[list(index)]) for index in parts.values()]
    assert sum(map(len, patients)) == len(set.union(*patients)) == 606
    assert len(parts["test"]) >= 750
    assert sorted(i for index in parts.values() for i in index) == [*range(1193)]


@pytest.mark.parametrize("part", scans.PARTS)
def test_each_nodule_is_dealt_once(part):
    dealt = [shape for each in scans.deal(part) for shape in each]
    source = "validation" if part.startswith("validation") else "test"
    assert sorted(dealt) == sorted(scans.split_shapes()[source])
    assert any(not each for each in scans.deal(part))  # some scans have none
    mean = 1.2 if source == "validation" else 2.6
    assert np.mean([*map(len, scans.deal(part))]) == pytest.approx(mean, abs=0.25)


def test_the_external_scans_are_other_scans_of_the_same_nodules():
    assert scans.deal("external") != scans.deal("test")
    assert scans.deal("validation_elsewhere") != scans.deal("validation")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_scan(made):
    again = scans.training_scan(0)
    np.testing.assert_array_equal(again.hu, made.hu)
    assert again.nodules == made.nodules


def fingerprint(phantom):
    """How many voxels have which HU, in steps of 10, and the mean of each 20 mm."""
    counts, _ = np.histogram(phantom.hu, np.arange(-1024, 1500, 10))
    z, y, x = (20 * (n // 20) for n in phantom.hu.shape)
    blocks = phantom.hu[:z, :y, :x].reshape(z // 20, 20, y // 20, 20, x // 20, 20)
    return counts.astype("i4"), blocks.mean((1, 3, 5)).astype("f4")


def test_the_generator_has_the_version_that_it_states(made):
    """Another phantom needs another `GENERATOR`, so that caches and figures do not mix.

    For a new version, save `fingerprint(made)` and the nodules' centers under its number.
    """
    stored = np.load(HERE / f"generator_{scans.GENERATOR}.npz")
    counts, means = fingerprint(made)
    # arithmetic differs a little between computers
    assert np.abs(counts - stored["counts"]).sum() < 1e-4 * made.hu.size
    np.testing.assert_allclose(means, stored["means"], atol=0.5)
    centers = [each.center_mm for each in made.nodules]
    np.testing.assert_allclose(centers, stored["centers"], atol=0.05)


def test_no_bone_reaches_into_a_lung():
    body = chest.chest(np.random.default_rng(3))
    assert body.hu[body.depth > 1].max() < 150
    assert body.hu.max() > 400


def test_vertebrae_are_marrow_with_a_plate_every_26_mm():
    hu, middle = np.zeros(chest.SHAPE, "f4"), np.array([140.0, 112, 152])
    chest._bones(np.random.default_rng(0), hu, middle, 1.0)
    axis = hu[104:156, 112 + 80, 152]  # two of them
    assert np.array_equal(axis[:26], axis[26:])
    assert (axis > 300).sum() == 2 * 3
    assert (axis == chest.MARROW).sum() == 2 * 21


def test_a_plaque_is_flat_and_follows_the_pleura():
    z, y, x = np.ogrid[:60, :60, :60]
    depth = (40 - np.sqrt((z - 30) ** 2 + (y - 30) ** 2 + (x + 15) ** 2)).astype("f4")
    before = np.where(depth > 0, -850.0, 40.0).astype("f4")  # a curved wall
    hu, center = before.copy(), np.array([30.0, 30, 25])
    chest._plaque(hu, depth, center, 20.0, 2.0, 50.0)
    painted = hu - before > 100
    assert painted.sum() > 300
    assert depth[painted].min() + 0.5 >= 0
    assert depth[painted].max() < 2.5
    far = np.linalg.norm(np.argwhere(painted) - center, axis=1)
    assert 12 < far.max() < 20


@pytest.mark.parametrize("seed", range(5))
def test_a_tree_stays_in_the_lung_and_ends_in_thin_tips(seed):
    rng = np.random.default_rng(seed)
    z, y, x = np.ogrid[tuple(map(slice, chest.SHAPE))]
    center = np.array([140.0, 112, 150])
    distance = (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2
    depth = (80 - np.sqrt(distance)).astype(np.float32)  # a ball
    root = center - np.array([0, 0, 70.0])
    tubes = [*trees.branches(rng, root, np.array([0, 0, 1.0]), 3.5, 10, depth)]
    assert len(tubes) > 100
    starts = np.array([start for start, _, _ in tubes])
    for _, end, radius in tubes:
        if np.linalg.norm(end - root) > trees.HILUM:
            # rounded to voxels; a tip may reach a little farther than a branch
            assert depth[tuple(np.round(end).astype(int))] > radius - 1
        if not (np.abs(starts - end).max(1) < 1e-9).any():  # nothing goes on here
            assert radius < 0.75


def test_nodules_are_in_the_lungs_and_apart(made):
    assert len(made.nodules) == scans.PER_SCAN
    for number, nodule in enumerate(made.nodules):
        z, y, x = np.round(nodule.center_mm).astype(int)
        around = made.hu[z - 25 : z + 26, y - 25 : y + 26, x - 25 : x + 26]
        assert (around < -600).mean() > 0.15
        inside = made.hu[z - 1 : z + 2, y - 1 : y + 2, x - 1 : x + 2].mean()
        assert inside > -750  # brighter than the lung, whatever its texture
        for other in made.nodules[:number]:
            distance = np.linalg.norm(np.subtract(nodule.center_mm, other.center_mm))
            assert distance > (nodule.diameter_mm + other.diameter_mm) / 2


def test_a_chest_has_the_parts_of_one(made):
    assert made.hu.dtype == np.int16
    assert made.hu.min() >= -1024
    middle = made.hu[140]
    assert (middle < -950).mean() > 0.25  # air around the patient
    assert 0.1 < ((middle > -950) & (middle < -700)).mean() < 0.4  # lung
    assert (middle > 300).mean() > 0.005  # bone


@pytest.mark.slow
def test_another_hospital_has_thicker_slices_and_a_softer_kernel():
    here, there = (scan(5, [10], scanner) for scanner in (HOME, ELSEWHERE))
    assert there.spacing_mm == (2.0, 1.0, 1.0)
    assert len(there.hu) == len(here.hu) // 2
    sharpness = [
        np.abs(np.diff(s.hu[len(s.hu) // 2].astype(float), axis=1)).max()
        for s in (here, there)
    ]
    assert sharpness[1] < sharpness[0]


@pytest.mark.slow
def test_training_scans_are_kept(tmp_path, made):
    ((gray, boxes),) = scans.training_scans(tmp_path, 1, progress=False)
    np.testing.assert_array_equal(gray, scans.gray(made.hu))
    np.testing.assert_allclose(boxes, scans.boxes(made), atol=1e-3)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.*")}
    assert len(before) == 2
    scans.training_scans(tmp_path, 1, progress=False)
    assert before == {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*.*")}


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match="part must be one of"):
        scans.deal("train")
    with pytest.raises(ValueError, match="index must be from 0 to"):
        scans.generate("test", 10_000)
