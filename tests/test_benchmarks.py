"""The benchmark scripts: what they compute from measurements, and how they resume."""

import importlib.util
import random
import sys
from pathlib import Path

import pytest

from deepseek_learn.course import write_result

SCRIPTS = Path(__file__).resolve().parents[1] / "benchmarks"


def script(name):
    spec = importlib.util.spec_from_file_location(
        f"bench_{name}", SCRIPTS / f"{name}.py"
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def learning(tmp_path, monkeypatch):
    module = script("attention_learning")
    monkeypatch.setattr(module, "RUNS", tmp_path / "runs.jsonl")
    return module


RATIOS = {"plain": 1.0, "se": 1.04, "cbam": 1.5, "eca": 1.0, "sc": 1.25, "slim": 0.8}


def scores(learning, plain=0.5, other=0.6):
    """Made-up runs: every other variant lies `other - plain` above plain."""
    for task in learning.SETS:
        for seed in range(5):
            for variant in RATIOS:
                score = (plain if variant == "plain" else other) + seed / 100
                yield {"task": task, "variant": variant, "seed": seed} | {
                    "epochs": learning.EPOCHS, "score": score
                }  # fmt: skip
            for epochs in set(learning.epochs_of(RATIOS).values()) - {learning.EPOCHS}:
                yield {"task": task, "variant": "plain", "seed": seed} | {
                    "epochs": epochs, "score": plain + seed / 100
                }  # fmt: skip


def test_learning_rows_are_paired_differences_the_ledger_takes(learning, tmp_path):
    rows = learning.summarise(list(scores(learning)), RATIOS, 5)
    gains = {row["what"]: row for row in rows}
    gain = gains["solar: sc minus plain at equal time, AUROC"]
    assert gain["measured"] == pytest.approx(10)  # points, the same for each seed
    assert gain["low"] == pytest.approx(10)
    assert gain["target"] == 2.1
    assert "plain: 10 epochs, sc: 8" in gain["note"]
    assert gains["clutter: sc minus cbam at equal steps, accuracy"]["measured"] == (
        pytest.approx(0)
    )
    # eca takes plain's time: one row, not two equal ones
    assert len([what for what in gains if what.startswith("solar: eca minus")]) == 1
    write_result("learning", rows, "run", directory=tmp_path)


def test_learning_goes_on_from_whole_lines_of_the_same_protocol(learning, monkeypatch):
    run = {"task": "solar", "variant": "sc", "seed": 0, "epochs": 8, "score": 0.9}
    learning.append(run)
    with learning.RUNS.open("a") as file:
        file.write('\n{"task": "solar", "vari')  # a kill
    learning.append(run | {"seed": 1})
    assert [row["seed"] for row in learning.finished()] == [0, 1]
    monkeypatch.setattr(learning, "__doc__", "another protocol")
    assert learning.finished() == []


def test_cost_ratios_are_taken_within_a_round():
    cost = script("attention_cost")
    noise = [random.Random(i).uniform(1, 9) for i in range(15)]
    times = {"guide": [1.5 * n for n in noise], "sc": noise}
    row = cost.compared(times, 1, "guide", "sc", "speed against it", 1.15, "ours")
    assert row["measured"] == pytest.approx(1.5)
    assert (row["low"], row["high"]) == pytest.approx((1.5, 1.5))
    assert row["better"] == "higher"


def test_zoo_is_checked_in_a_process_without_network():
    zoo = script("zoo")
    assert zoo.loads_offline("fashion_net")
    assert not zoo.loads_offline("no such model")
