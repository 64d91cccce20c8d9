"""This machine's peaks: a roof only rises."""

import pytest
import torch

from deepseek_learn.measure import Roof, measured_roof, roof


def test_a_roof_is_the_best_of_its_readings(monkeypatch):
    monkeypatch.setattr(roof, "_known", {})
    monkeypatch.setattr(roof, "_took", {})
    readings = [Roof(10, 20, 3, 9), *[Roof(11, 19, 2, 7)] * 20]
    monkeypatch.setattr(roof, "_reading", lambda device, dtype: readings.pop(0))
    device = torch.device("cpu")
    assert measured_roof(device) == Roof(11, 20, 3, 7)
    left = len(readings)
    assert left == 21 - roof.READINGS
    monkeypatch.setattr(roof, "_took", dict.fromkeys(roof._known, 1.0))
    measured_roof(device, spent=10)  # a reading would take a tenth of it
    assert len(readings) == left
    measured_roof(device, spent=100)
    assert len(readings) == left - 1


def test_measuring_a_roof_leaves_the_random_numbers_alone():
    before = torch.get_rng_state()
    measured_roof(torch.device("cpu"))
    assert torch.equal(before, torch.get_rng_state())


def test_a_measured_roof_is_one_a_machine_can_have():
    peaks = measured_roof(torch.device("cpu"))
    assert peaks.gemm_gflops > 1  # a core of the last 15 years
    assert peaks.conv_gflops > 1
    assert 0.1 < peaks.bandwidth_gbs < 10_000
    assert 0.01 < peaks.overhead_us < 10_000
    highest = max(peaks.gemm_gflops, peaks.conv_gflops)
    assert peaks.ridge == pytest.approx(highest / peaks.bandwidth_gbs)
