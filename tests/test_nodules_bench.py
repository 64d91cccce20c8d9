"""The benchmarks of the nodule detector: their rows, and their peers."""

import numpy as np
import pytest
import torch

from deepseek_learn.course import write_result
from deepseek_learn.solutions.nodules import evaluate, measure
from deepseek_learn.solutions.nodules.evaluate import Marked
from deepseek_learn.solutions.nodules.train import VALIDATION
from deepseek_learn.solutions.phantoms import scans


@pytest.fixture(scope="module")
def kept():
    return evaluate.load(VALIDATION)


def results(shift=0.0, count=40, seed=0):
    """Scans with a nodule each; half of the marks hit it, the others are far away."""
    rng = np.random.default_rng(seed)
    marked = []
    for _ in range(count):
        nodule = [*rng.uniform(50, 200, 3), rng.uniform(5, 20)]
        hit = [rng.uniform(0.3, 1) + shift, *nodule[:3], nodule[3] * 1.1]
        false = [
            [rng.uniform(0, 0.8), *rng.uniform(300, 400, 3), 6.0] for _ in range(3)
        ]
        marks = np.array([hit, *false])
        marked.append(Marked(marks, np.array([nodule]), np.zeros((0, 4))))
    return marked


def test_the_detectors_rows_are_those_of_its_marks(script, kept, tmp_path):
    bench = script("find_nodules")
    rows = list(bench.detector_rows(kept, "test"))
    of = {row.what: row for row in rows}
    judged = evaluate.judged(kept)
    assert of["CPM, phantoms"].measured == measure.cpm(judged)
    assert of["CPM, phantoms"].low < of["CPM, phantoms"].measured
    guide = [row for row in rows if row.source == "guide"]
    assert [(row.claim, row.target) for row in guide] == [("C14", 0.987)]
    # the threshold was chosen on these very scans
    chosen = of["sensitivity with the chosen threshold, phantoms"].measured
    assert chosen == pytest.approx(measure.froc(judged).at(0.8), abs=0.02)
    false = of["false marks per scan with the chosen threshold, phantoms"]
    assert false.measured == pytest.approx(0.8, abs=0.05)
    assert false.target == 0.8
    assert of["nodules, phantoms"].target == 750
    elsewhere = list(bench.detector_rows(kept, "external"))
    assert {row.target for row in elsewhere} == {None, 0.85, 750}
    write_result("nodules", [*rows, *elsewhere], "run", directory=tmp_path)


def test_groups_are_by_texture_and_size(script, kept):
    bench = script("find_nodules")
    shapes = [shape for each in scans.deal("validation") for shape in each]
    judged = evaluate.judged(kept)
    rows = list(bench.groups(judged, shapes[: judged.nodules.sum()]))
    sizes = [row for row in rows if row.what.endswith("mm")]
    assert sum(row.n for row in sizes) == judged.nodules.sum()
    assert all(0 <= row.low <= row.measured <= row.high <= 1 for row in rows)


class Trained:
    """Stands in for the networks of the comparison."""

    def steps(self, attention):
        return 1000 if attention else 1400

    def network(self, attention, seed, steps):
        return {"cpu_s": 600.0 + seed}

    def monai(self, cpu_seconds):
        assert cpu_seconds == 601.0
        return None, 123

    runs = None


def test_attention_is_compared_seed_by_seed(script):
    bench = script("find_nodules")
    judged = {
        (kind, seed): evaluate.judged(results(shift, seed=seed))
        for kind, shift in (("sc", 0.2), (None, 0.0))
        for seed in range(3)
    }
    *cpms, gain = bench.attention_rows(judged, Trained())
    assert gain.measured == pytest.approx(cpms[0].measured - cpms[1].measured)
    assert gain.target == 0
    assert "1400 steps without" in cpms[1].what
    assert "601 processor seconds" in cpms[0].note


def test_peers_are_compared_on_the_same_scans(script, monkeypatch):
    bench = script("find_nodules")
    monkeypatch.setattr(bench, "Marker", lambda *_: lambda *_: results(-0.3))
    ours = [evaluate.judged(results(0.2)) for _ in range(3)]
    *peers, ahead = bench.peer_rows(Trained(), ours, "test", 40)
    assert [row.what.split(",")[0] for row in peers] == [
        "CPM of the blob filter",
        "CPM of the MONAI RetinaNet",
    ]
    expected = measure.cpm(ours[0]) - peers[1].measured
    assert ahead.measured == pytest.approx(expected)
    assert 0 < ahead.low < ahead.measured < ahead.high


def test_without_attention_there_are_as_many_steps_as_take_as_long(script):
    bench = script("find_nodules")

    class Runs:
        def once(self, key, work):
            return {"sc": 30.0, "None": 20.0}

    trained = bench.Trained(Runs(), quick=False)
    assert trained.steps("sc") == 1000
    assert trained.steps(None) == 1600  # 1,500, in hundreds of two


@pytest.mark.in_turn
@pytest.mark.slow
def test_monais_detector_trains_and_marks(script):
    pytest.importorskip("monai")
    script("find_nodules")
    from models.nodule_peers import PATCH, Monai

    hu = np.full((112, 128, 144), -850, np.int16)
    hu[:, :8] = hu[:, -8:] = 40
    hu[:, :, :8] = hu[:, :, -8:] = 40
    gray, nodules = scans.gray(hu), np.array([[50.0, 60, 70, 10]])
    detector = Monai()
    steps = detector.train([(gray, nodules)], cpu_seconds=0.1)
    assert steps == 1
    assert min(hu.shape) > PATCH
    marks = detector(hu, (1.0, 1.0, 1.0))
    assert marks.shape[1] == 5
    assert np.isfinite(marks).all()


def test_average_precision_counts_what_is_missed(script):
    bench = script("nodules_deployed")
    one = np.array([[0.9, 10.0, 10, 10]])
    nodules = [np.array([[10.0, 10, 10, 8]]), np.array([[20.0, 20, 20, 8]])]
    judged = measure.judge([one, one], nodules)  # a hit, a false mark, a missed one
    # at the score 0.9: precision 1/2, recall 1/2; at 0: precision 2/3, recall 1
    assert bench.points(judged) == pytest.approx(100 * (0.5 * 0.5 + 0.5 * 2 / 3))


def test_deployed_rows_say_what_was_lost_or_refused(script, tmp_path):
    bench = script("nodules_deployed")
    facts = {"crops": 110, "nodules": 60, "points": 80.0, "kept": [0.99, 0.97, 1.0]}
    exact = {"apart": 1e-5, "lost": [0.0, 0.0, 0.0], "bytes": 1_600_000}
    names = [*bench.ENGINES]
    facts |= dict.fromkeys(names, exact)
    facts["ONNX Runtime, INT8"] = {"refused": 2.5}
    facts["OpenVINO, bfloat16"] = exact | {"apart": 0.1}
    rows = list(bench.exact_rows(facts))
    verdicts = {row.what: row.verdict for row in rows if row.target is not None}
    start = "nodule detector: "
    lost = f"{start}average precision that the C++ engine loses, "
    apart = f"{start}largest difference of an output of the C++ engine, "
    assert verdicts == {
        f"{start}average precision with DPG, of the original's": "on the mean only",
        f"{start}average precision lost by ONNX Runtime, INT8": "missed",
        **{lost + name: "met" for name in names if name != "ONNX Runtime, INT8"},
        apart + "ONNX Runtime, float32": "met",
        apart + "OpenVINO, float32": "met",
    }
    facts["ONNX Runtime, INT8"] = {"apart": 0.1, "lost": [0.5, 0.1, 0.9], "bytes": 5}
    times = {bench.EAGER: [3.3] * 3, bench.BF16: [2.0] * 3}
    times |= {name: [1.0] * 3 for name in names[:-1]}  # the last one was refused
    times["time"] = "2026-01-01T00:00:00Z"
    scan = {"seconds": [3.0, 4.0, 5.0], "time": "2026-01-01T00:00:00Z"}
    timed = list(bench.speed_rows(times, scan))
    rows = [*bench.exact_rows(facts), *timed]
    assert len(timed) == 2 * (len(names) - 1) + 1
    assert {row.source for row in rows if row.claim == "C2"} == {"guide"}
    write_result("deployed", rows, "run", directory=tmp_path)


def test_crops_hold_the_nodules_that_are_in_them(script, monkeypatch):
    bench = script("nodules_deployed")
    volumes, inside = bench.validation_crops(1)
    scan = scans.generate("validation", 0)
    assert len(volumes) == 1 + len(scan.nodules)
    assert volumes.shape[1:] == (1, 96, 96, 96)
    assert volumes.dtype == torch.float32
    for crop, nodules in list(zip(volumes[:, 0], inside, strict=True))[1:]:
        assert len(nodules)
        z, y, x = np.round(nodules[0, :3]).astype(int)
        assert crop[z, y, x] > 0.3  # brighter than air and lung
