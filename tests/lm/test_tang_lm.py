"""The trained models of the benchmarks: weights and records match."""

import importlib.util
import math
from pathlib import Path

import pytest
import torch

from deepseek_learn import data
from deepseek_learn.errors import DamagedFileError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "models" / "tang_lm.py"


@pytest.fixture
def tang_lm():
    spec = importlib.util.spec_from_file_location("tang_lm", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_model_measures_what_its_record_says(tang_lm):
    record = tang_lm._read(tang_lm.FOLDER / "tang_lm_0.json")
    model = tang_lm.load(0)
    assert not model.training
    measured = tang_lm.evaluate(model, data.tang_poems().validation)
    assert measured == pytest.approx(record["validation"], rel=1e-4)


def test_every_seed_is_finished_and_another_model(tang_lm):
    assert all(tang_lm.finished(seed) for seed in tang_lm.SEEDS)
    heads = [tang_lm.load(seed).head.weight for seed in tang_lm.SEEDS]
    assert len({tuple(head[0].tolist()) for head in heads}) == len(tang_lm.SEEDS)


def test_evaluation_against_a_model_whose_answer_is_known(tang_lm):
    part = torch.tensor([7, 9] * 200, dtype=torch.uint8)
    half = torch.full((256,), -math.inf)
    half[[7, 9]] = 0.0  # equal odds of the two bytes: one bit; argmax says 7
    got = tang_lm.evaluate(lambda x: half.expand(*x.shape, 256), part)
    assert got == pytest.approx({"bits_per_byte": 1.0, "accuracy": 0.5})


def test_schedule_rises_and_ends_at_its_floor(tang_lm):
    rates = [tang_lm.schedule(step) for step in range(tang_lm.STEPS + 1)]
    assert rates[0] == pytest.approx(1 / tang_lm.WARM_UP)
    assert rates[tang_lm.WARM_UP] == max(rates) == 1
    assert rates[-1] == pytest.approx(tang_lm.FLOOR)


@pytest.mark.slow
def test_a_short_run_is_stored_skipped_and_refused_when_damaged(
    tang_lm, tmp_path, monkeypatch
):
    for name, value in {"FOLDER": tmp_path, "STEPS": 2, "WARM_UP": 1}.items():
        monkeypatch.setattr(tang_lm, name, value)
    assert not tang_lm.finished(0)
    record = tang_lm.run(0)
    assert tang_lm.finished(0)
    assert record["validation"]["bits_per_byte"] < 8
    monkeypatch.setattr(tang_lm, "STEPS", 3)
    assert not tang_lm.finished(0)
    with pytest.raises(FileNotFoundError):
        tang_lm.load(1)
    (tmp_path / "tang_lm_0.safetensors").write_bytes(b"damaged")
    with pytest.raises(DamagedFileError, match="does not have the checksum"):
        tang_lm.load(0)
