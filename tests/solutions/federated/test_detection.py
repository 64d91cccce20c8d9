"""The detector as what hospitals learn: scans in folders, crops, federated rounds."""

import numpy as np
import pytest
import torch

from deepseek_learn.solutions.federated import detection, hospitals, learning
from deepseek_learn.solutions.federated.hospitals import HOSPITALS
from deepseek_learn.solutions.federated.tasks import DETECTOR
from deepseek_learn.solutions.phantoms import scans
from tests import services

QUICK = {"task": "detector", "rounds": 2, "steps": 1, "patients": 2, "lr": 1e-3}


def scan(seed, nodules=1):
    """Gray values with bright balls, and where they are."""
    rng = np.random.default_rng(seed)
    gray = rng.integers(40, 90, (72, 80, 88), np.uint8)
    table = np.array([[36 + 4 * n, 40, 44, 8] for n in range(nodules)], float)
    grid = np.indices(gray.shape)
    for *center, diameter in table:
        away = np.linalg.norm(grid - np.array(center)[:, None, None, None], axis=0)
        gray[away < diameter / 2] = 180
    return gray, table.reshape(-1, 4)


@pytest.fixture
def sites(tmp_path):
    for name, count in (("a", 3), ("b", 2)):
        scans.keep_scans(tmp_path / name, count, scan, progress=False)
    return [{"hospital": name, "data": str(tmp_path / name)} for name in "ab"]


def test_a_hospitals_scans_come_back_as_they_were_written(sites):
    own = detection.read("a", sites[0]["data"])
    assert len(own) == 3
    gray, nodules = scan(1)
    np.testing.assert_array_equal(own[1][0], gray)
    np.testing.assert_array_equal(own[1][1], nodules)


def test_scans_that_are_there_are_not_made_again(sites, tmp_path):
    asked = []

    def again(index):
        asked.append(index)
        return scan(index)

    scans.keep_scans(tmp_path / "a", 4, again, progress=False)
    assert asked == [3]
    assert len(scans.kept_scans(tmp_path / "a")) == 4


def test_a_batch_has_one_crop_per_patient_and_repeats(sites):
    own = detection.read("a", sites[0]["data"])
    index = np.array([2, 0])
    first = detection.batch(own, index, np.random.default_rng(7))
    again = detection.batch(own, index, np.random.default_rng(7))
    other = detection.batch(own, index, np.random.default_rng(8))
    assert [tuple(x.shape) for x in first] == [(2, 1, 64, 64, 64), (2, 6, 32, 32, 32)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_the_network_mixes_no_patients():
    torch.manual_seed(0)
    model = detection.network()
    assert not [*model.buffers()]
    with torch.no_grad():
        model.head.weight.normal_()
    x = torch.rand(2, 1, 16, 16, 16)
    changed = x.clone()
    changed[1] = 0
    torch.testing.assert_close(model(x)[:1], model(changed)[:1], rtol=1e-3, atol=1e-4)


def test_a_hospital_without_scans_or_nodules_says_so(tmp_path):
    with pytest.raises(ValueError, match="data must name the folder of north's scans"):
        detection.read("north")
    empty = tmp_path / "empty"
    scans.keep_scans(empty, 1, lambda index: scan(index, 0), progress=False)
    with pytest.raises(ValueError, match="north has no scan with a nodule"):
        detection.read("north", str(empty))


def test_private_steps_of_the_detector(sites):
    own, model = detection.read("a", sites[0]["data"]), detection.network()
    before = [p.detach().clone() for p in model.parameters()]
    local = learning.Local(steps=1, patients=3, lr=1e-3)
    learning.train_privately(model, own, local, noise=1.0, seed=0, task=DETECTOR)
    after = [*model.parameters()]
    assert all(torch.isfinite(p).all() for p in after)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.in_turn
def test_hospitals_train_the_detector_together(sites):
    services.need("flwr")
    from deepseek_learn.solutions.federated.client import round_seed
    from deepseek_learn.solutions.federated.local import simulate

    torch.manual_seed(0)
    state = detection.network().state_dict()
    local = learning.Local(steps=1, patients=2, lr=1e-3)
    for number in (1, 2):
        parts = []
        for site in sites:
            model = detection.network()
            model.load_state_dict(state)
            own = detection.read(site["hospital"], site["data"])
            seed = round_seed(0, site["hospital"], number)
            learning.train(model, own, local, seed, DETECTOR)
            parts.append(model.state_dict())
        state = {n: 3 / 5 * parts[0][n] + 2 / 5 * parts[1][n] for n in state}
    claims = " ".join(f"{site['hospital']}=3" for site in sites)
    result, rows = simulate(sites, strategy="fedavg", registered=claims, **QUICK)
    assert [row["num-examples"] for row in rows] == [3, 2, 3, 2]
    assert max(float((result[n] - state[n]).abs().max()) for n in state) < 1e-5
    _, rows = simulate([*sites, {"hospital": "north"}], **QUICK)
    refused = [row["refused"] for row in rows if row["refused"]]
    assert refused == ["north: data must name the folder of north's scans."] * 2


@pytest.mark.in_turn
@pytest.mark.slow
def test_a_hospitals_reader_decides_what_its_scans_say(tmp_path):
    harbor = HOSPITALS["harbor"]
    folder = hospitals.make_scans(harbor, tmp_path, 2)
    for (gray, marked), index in zip(scans.kept_scans(folder), range(2), strict=True):
        phantom = hospitals.patient_scan(harbor, "train", index)
        depth = (phantom.hu.shape[0] - 1) * phantom.spacing_mm[0] + 1
        assert gray.shape[0] == pytest.approx(depth, abs=1)
        large = [n.diameter_mm for n in phantom.nodules if n.diameter_mm >= 6]
        np.testing.assert_allclose(marked[:, 3], large, atol=1e-3)
