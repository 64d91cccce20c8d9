"""Targets, loss, tiles and peaks of the nodule detector."""

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn.solutions.nodules import crops, detector, train
from deepseek_learn.solutions.nodules.dicom import load_series
from deepseek_learn.solutions.phantoms import scans
from deepseek_learn.zoo.nets.nodule_net import NoduleNet
from tests.solutions.nodules.dicom.traps import traps


def boxes(seed=0, count=5, size=64):
    """Nodules that are far from each other."""
    rng = np.random.default_rng(seed)
    found = []
    while len(found) < count:
        new = [*rng.uniform(8, size - 8, 3), rng.uniform(3, 12)]
        if all(np.linalg.norm(np.subtract(new[:3], o[:3])) > 20 for o in found):
            found.append(new)
    return np.array(found)


@pytest.mark.parametrize("seed", range(5))
def test_peaks_of_a_perfect_map_are_the_nodules(seed):
    nodules = boxes(seed)
    target = torch.from_numpy(crops.target(nodules, (64, 64, 64)))
    heads = torch.cat([(target[:1].clamp(1e-6, 1 - 1e-6)).logit(), target[1:5]])
    marks = detector.peaks(heads, torch.ones(32, 32, 32, dtype=torch.bool))
    found = np.column_stack([marks.centers_mm, marks.diameters_mm])
    order = [np.linalg.norm(found[:, :3] - n[:3], axis=1).argmin() for n in nodules]
    assert len(found) == len(nodules)
    np.testing.assert_allclose(found[order], nodules, atol=1e-3)


def test_marks_outside_of_the_lungs_are_left_out():
    target = torch.from_numpy(crops.target(boxes(), (64, 64, 64)))
    heads = torch.cat([(target[:1].clamp(1e-6, 1 - 1e-6)).logit(), target[1:5]])
    inside = torch.zeros(32, 32, 32, dtype=torch.bool)
    assert len(detector.peaks(heads, inside).scores) == 0


def test_the_loss_is_the_one_of_the_paper():
    torch.manual_seed(0)
    target = torch.from_numpy(crops.target(boxes(), (64, 64, 64)))[None].double()
    prediction = torch.randn(1, 5, 32, 32, 32, dtype=torch.float64)
    heat, p = target[0, 0], prediction[0, 0].sigmoid()
    expected = 0.0
    for h, q in zip(heat.flatten().tolist(), p.flatten().tolist(), strict=True):
        if h == 1:
            expected -= (1 - q) ** 2 * np.log(q)
        else:
            expected -= (1 - h) ** 4 * q**2 * np.log(1 - q)
    expected /= int((heat == 1).sum())
    weight = target[0, 5].bool()
    expected += (prediction[0, 1:] - target[0, 1:5]).abs()[:, weight].mean().item()
    assert train.loss(prediction, target).item() == pytest.approx(expected, rel=1e-6)
    empty = torch.zeros(1, 6, 8, 8, 8)
    assert torch.isfinite(train.loss(torch.randn(1, 5, 8, 8, 8), empty))


def test_a_single_center_is_not_divided_by_more_than_one():
    target = torch.zeros(1, 6, 1, 1, 1)
    target[:, 0] = target[:, 5] = 1
    prediction = torch.tensor([0.0, 1, 2, 3, 4]).reshape(1, 5, 1, 1, 1)
    expected = 0.5**2 * np.log(2) + (1 + 2 + 3 + 4) / 4
    assert train.loss(prediction, target).item() == pytest.approx(expected)


def test_crops_are_the_same_by_index_and_turn_with_their_nodules():
    gray = np.full((80, 80, 80), 50, np.uint8)
    nodules = np.array([[40.0, 30, 50, 8]])
    z, y, x = np.ogrid[:80, :80, :80]
    ball = (z - 40) ** 2 + (y - 30) ** 2 + (x - 50) ** 2 < 16
    gray[ball] = 200
    dataset = crops.Crops([(gray, nodules)], 40)
    volumes, targets = dataset.batch(range(40))
    again, _ = dataset.batch([7])
    torch.testing.assert_close(again[0], volumes[7])
    assert volumes.shape == (40, 1, 64, 64, 64)
    assert targets.shape == (40, 6, 32, 32, 32)
    centers = (targets[:, 0] == 1).nonzero()
    assert len(centers) > 25
    for index, *cell in centers.tolist():  # the ball is where the target says
        bright = volumes[index, 0] > volumes[index].mean() + 0.25
        mean = bright.nonzero().float().mean(0)
        assert (mean - (2 * torch.tensor(cell) + 0.5)).abs().max() < 2.5


def test_the_second_stage_shows_mistakes_as_another_scanner_would():
    """A cross where the network was wrong is in most of the crops without a nodule."""
    gray = np.full((240, 240, 240), 50, np.uint8)
    gray[59:62, 59:62, 50:70] = gray[59:62, 50:70, 59:62] = 200
    far = np.array([[220.0, 220, 220, 4]])
    mistakes = [np.array([[60.0, 60, 60]])]
    plain = crops.Crops([(gray, far)], 100, augment=False, mistakes=mistakes)
    shown = sum(float(plain.crop(i)[0].max()) > 0.7 for i in range(100))
    easy = crops.Crops([(gray, far)], 100, augment=False)
    rare = sum(float(easy.crop(i)[0].max()) > 0.7 for i in range(100))
    assert 25 < shown < 45
    assert rare < 10
    altered = crops.Crops([(gray, far)], 20, mistakes=mistakes)
    again = crops.Crops([(gray, far)], 20, mistakes=mistakes)
    for index in range(20):
        crop, _ = altered.crop(index)
        assert crop.shape == (64, 64, 64)
        assert np.isfinite(crop).all()
        np.testing.assert_array_equal(crop, again.crop(index)[0])


def test_false_marks_are_the_ones_off_the_nodules(monkeypatch):
    marks = detector.Marks(
        np.array([0.9, 0.8, 0.7, 0.04]),
        np.array([[20.0, 20, 20], [40, 40, 40], [20, 20, 27.5], [60, 60, 60]]),
        np.full(4, 6.0),
    )
    seen = []
    monkeypatch.setattr(train, "mark", lambda _, hu, spacing: seen.append(hu) or marks)
    gray = scans.gray(np.array([[[-1200.0, -300.0, 600.0]]]))
    (false,) = train.false_marks(
        None, [(gray, np.array([[20.0, 20, 20, 8]]))], progress=False
    )
    np.testing.assert_array_equal(false, [[40, 40, 40]])
    np.testing.assert_allclose(seen[0], [[[-1200, -300, 600]]], atol=4)


def test_tiles_cover_the_lungs_once():
    shape = (280, 224, 304)
    lungs = np.zeros((70, 56, 76), bool)
    lungs[3:68, 8:50, 4:36] = lungs[3:68, 8:50, 40:73] = True
    count = np.zeros(shape, int)
    for window, core in detector._tiles(shape, lungs):
        for w, c, size in zip(window, core, shape, strict=True):
            assert (w.stop - w.start) % 8 == 0
            assert 0 <= w.start <= c.start < c.stop <= w.stop <= size
        count[core] += 1
    fine = np.kron(lungs, np.ones((4, 4, 4), bool))
    assert (count[fine] == 1).all()


class Blur(nn.Module):
    """A network with a small receptive field."""

    def forward(self, x):
        y = nn.functional.avg_pool3d(x, 2) - 0.5
        return torch.cat([y, y, y, y, y], 1)


def test_tiles_give_what_the_whole_volume_gives():
    torch.manual_seed(0)
    x = torch.randint(256, (56, 48, 64), dtype=torch.uint8)
    lungs = np.ones((14, 12, 16), bool)
    heads = detector._heads(Blur(), x, lungs, bf16=False, progress=False)
    torch.testing.assert_close(heads, Blur()(x[None, None] / 255)[0])


class Everywhere(nn.Module):
    """Marks the last slices most, and points beyond the end."""

    def forward(self, x):
        heads = torch.zeros(1, 5, *(n // 2 for n in x.shape[2:]))
        heads[0, 0] += torch.arange(heads.shape[2])[:, None, None] / 100
        heads[0, 2:] = 3.0
        return heads


def test_marks_stay_in_a_volume_whose_size_is_no_multiple_of_a_tile():
    hu = np.full((121, 101, 143), 40, np.float32)
    hu[:, 10:90, 10:66] = hu[:, 10:90, 76:133] = -850  # lungs to the last slice
    marks = detector.mark(Everywhere(), hu, (1, 1, 1), bf16=False)
    assert len(marks.scores) > 0
    assert (marks.centers_mm >= 0).all()
    assert (marks.centers_mm <= np.array(hu.shape) - 1).all()


def test_a_scan_without_lungs_is_refused():
    with pytest.raises(detector.NoLungsError, match="no lungs"):
        detector.lung_mask(np.full((200, 200, 200), 40, np.float32))


def test_a_volume_is_resampled_where_it_is():
    z, y, x = np.mgrid[:30, :40, :50].astype(np.float32)
    ramp = 3 * z + 2 * y - x
    fine = detector.resampled(ramp, (2.5, 1.0, 2.0))
    assert fine.shape == (73, 40, 99)
    np.testing.assert_allclose(fine[25, 7, 10], 3 * 10 + 2 * 7 - 5, atol=1e-3)


@pytest.mark.parametrize(
    "name", ["shuffled", "prone", "sagittal", "coronal", "decubitus"]
)
def test_a_turned_volume_keeps_its_coordinates(name, tmp_path):
    traps[name].build(tmp_path)
    volume = load_series(tmp_path)
    upright = detector.canonical(volume)
    np.testing.assert_allclose(upright.directions, np.eye(3)[::-1], atol=1e-9)
    for index in ([0, 0, 0], [3, 5, 7], [23, 47, 39]):
        there = np.round(upright.to_index(volume.to_mm(np.array(index)))).astype(int)
        assert upright.hu[tuple(there)] == volume.hu[tuple(index)]


def test_training_lowers_the_loss():
    gray = np.full((72, 72, 72), 50, np.uint8)
    gray[30:38, 30:38, 30:38] = 200
    scans = [(gray, np.array([[33.5, 33.5, 33.5, 8]]))]
    torch.manual_seed(0)
    model = NoduleNet(widths=(8, 8, 8))
    first = train.train(model, scans, 4, progress=False)
    later = train.train(model, scans, 12, seed=1, progress=False)
    assert later.history["loss"].iloc[-1] < first.history["loss"].iloc[-1]


def test_the_network_names_what_it_accepts():
    with pytest.raises(ValueError, match="multiples of 8"):
        NoduleNet(widths=(8, 8, 8))(torch.rand(1, 1, 20, 24, 24))
    with pytest.raises(ValueError, match="norm must be one of batch, group"):
        NoduleNet(norm="layer")
    out = NoduleNet(widths=(8, 8, 8), norm="group")(torch.rand(2, 1, 16, 24, 32))
    assert out.shape == (2, 5, 8, 12, 16)


class Dot(nn.Module):
    """Marks every bright voxel."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(60.0))

    def forward(self, x):
        bright = nn.functional.max_pool3d(x, 2) - 0.9
        return torch.cat([self.scale * bright, *[torch.zeros_like(bright)] * 4], 1)


@pytest.mark.parametrize("size", [(121, 103, 143), (120, 104, 144)])
def test_marks_are_found_up_to_the_edge_of_the_lungs(size):
    hu = np.full(size, 40, "float32")
    hu[10:-10, 12:-12, 14:-14] = -850
    points = [(14, 16, 18), tuple(n - 20 for n in size)]
    for point in points:
        hu[point] = 3000
    marks = detector.mark(Dot().eval(), hu, (1.0, 1.0, 1.0))
    found = sorted(map(tuple, marks.centers_mm))
    np.testing.assert_allclose(found, points, atol=0.6)
