"""The rows of the federated benchmark, from results that are made up."""

import pytest

from deepseek_learn.ledger.results import write_result
from deepseek_learn.solutions.nodules import evaluate
from deepseek_learn.solutions.nodules.train import VALIDATION
from tests import services

services.need("flwr")


@pytest.fixture
def bench(script):
    return script("federated_hospitals")


def classifiers(bench, gain=0.0):
    """Two seeds of each way; a hospital alone is `gain` worse."""
    found = {}
    for way in bench.WAYS:
        less = gain if way in bench.ALONE else 0
        runs = [
            {"auroc": dict.fromkeys(bench.HOSPITALS, 0.9 - less + 0.01 * seed)}
            for seed in (0, 1)
        ]
        size = 1000.0 if way == bench.INT8 else 3900.0
        found[way] = [run | {"bytes": size, "advantage": 0.01} for run in runs]
    return found


def test_the_targets_compare_with_pooled_and_alone(bench, tmp_path):
    rows = list(bench.classifier_rows(classifiers(bench, gain=0.05)))
    of = {row.what: row for row in rows}
    pooled = of[
        "AUROC of candidates, FedAvg over all data in one place, mean of hospitals"
    ]
    assert (pooled.measured, pooled.target) == (1.0, 0.97)
    for name in bench.TRAINING:
        alone = of[f"AUROC of candidates in {name}, FedAvg minus alone"]
        assert alone.measured == pytest.approx(0.05)
        assert alone.target == 0.0
    sizes = of["bytes of a float32 update over those of an int8 one, classifier"]
    assert (sizes.measured, sizes.target) == (3.9, 3.5)
    write_result("federated", rows, "run", directory=tmp_path)


def test_the_detectors_rows_resample_the_scans(bench, tmp_path):
    kept = evaluate.load(VALIDATION)
    parts = {name: kept[12 * i : 12 * i + 12] for i, name in enumerate(bench.HOSPITALS)}
    found = {}
    for way in bench.WAYS:
        names = parts
        if way in bench.ALONE:
            names = (bench.TRAINING[bench.ALONE.index(way)], "elsewhere")
        marked = {name: parts[name] for name in names}
        size = 1.0 if way == bench.INT8 else 4.0
        found[way] = {"facts": {"bytes": size}, "marked": marked}
    rows = list(bench.detector_rows(found))
    of = {row.what: row for row in rows}
    ratio = of["CPM in all four hospitals, FedAvg over all data in one place"]
    assert (ratio.measured, ratio.low, ratio.high, ratio.target) == (1, 1, 1, 0.97)
    own = of["CPM in north, FedAvg"]
    assert own.low < own.measured <= own.high
    assert of["CPM in north, FedAvg minus alone"].measured == 0
    lost = of["CPM in all four hospitals, int8 updates minus float32 ones"]
    assert (lost.measured, lost.target) == (0, -0.005)
    write_result("federated", rows, "run", directory=tmp_path)


def test_every_way_trains(bench):
    plan = bench.Plan("candidates", 1, bench.Local(1, 4, 0.01), bench.Local(1, 4, 0.01))
    for way in bench.WAYS:
        model, record = plan.train(way, 0)
        assert sum(p.numel() for p in model.parameters()) == 17_641
        facts = bench.runs_of.facts(record)
        assert facts.get("refused", 0) == 0
        assert ("epsilon" in facts) == (way in bench.PRIVATE)


def test_attackers_are_held_against_the_honest_run_of_the_same_seed(script, tmp_path):
    bench = script("federated_attacks")
    done = {}
    for job in bench.jobs():
        _, way, attack = job
        lost = 0.0 if attack == bench.NONE else 0.02 if way == bench.MEDIAN else 0.6
        runs = [
            {"auroc": 0.95 + 0.001 * seed - lost, "own_auroc": 0.97 - lost}
            for seed in bench.SEEDS
        ]
        done[job] = [run | {"raised": "worse" if lost == 0.6 else ""} for run in runs]
    rows = list(bench.rows(done))
    of = {row.what: row for row in rows}
    held = of[
        f"AUROC of candidates elsewhere, 1 of 3, median: {bench.NINEFOLD} minus none"
    ]
    assert (held.measured, held.low) == (pytest.approx(-0.02), pytest.approx(-0.02))
    assert held.target == -0.03
    ruined = of["AUROC of candidates elsewhere, 2 of 7, FedAvg: -9 times its update"]
    assert ruined.measured == pytest.approx(0.361)
    assert ruined.target is None
    cost = of["AUROC of candidates elsewhere, no attacker among 7: median minus FedAvg"]
    assert (cost.measured, cost.target) == (pytest.approx(0.0), -0.01)
    *_, refused, honest = rows
    assert (refused.measured, refused.target, refused.n) == (1.0, 1.0, 12)
    assert (honest.measured, honest.target, honest.n) == (0.0, 0.0, 12)
    write_result("federated_attacks", rows, "run", directory=tmp_path)
