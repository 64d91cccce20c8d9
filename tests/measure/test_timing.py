"""Latencies of calls that take turns, and of a model next to its baseline."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn.measure import latencies, latency
from deepseek_learn.measure.clock import source_of
from deepseek_learn.measure.timing import compare


def test_any_number_of_calls_take_turns(clock):
    """Every other round runs in reverse; the ratios are to the first call."""
    speeds = {"a": 0.2, "b": 0.4, "c": 0.1}
    calls = {name: clock.call(name, s, drift=0.01) for name, s in speeds.items()}
    result = latencies(calls, rounds=6, warmup=0)
    timed = "".join(clock.order[3:])  # one call each to size its samples
    assert timed == "abccba" * 3
    assert list(result.ratios) == ["b", "c"]
    assert result.ratios["b"].value == pytest.approx(2, rel=0.1)
    assert result["c"] == result.ms["c"]
    assert result["c"].unit == "ms"
    assert (result.source, len(result.samples_ms["a"])) == (result["a"].source, 6)


def test_samples_are_warmed_up(clock):
    latencies({"a": clock.call("a", 0.2)}, rounds=6, warmup=4)
    assert len(clock.order) == 4 + 1 + 6


def test_latencies_are_shown_with_the_verdict_of_each_ratio():
    times = {"first": [10, 10.1] * 3, "second": [5, 5.1] * 3, "third": [20, 21] * 3}
    result = compare(times | {"fourth": [9, 11] * 3}, "cpu, 1 thread")
    assert "first takes 10.05 ms (10–10.1) (cpu, 1 thread)." in result.why()
    assert "second takes 5.05 ms (5–5.1): faster than first, at 0.50" in result.why()
    assert "third takes 20.5 ms (20–21): slower than first" in result.why()
    assert "of first's time, no significant difference." in result.why()
    frame = result.to_frame()
    assert list(frame.index) == ["first", "second", "third", "fourth"]
    assert math.isnan(frame.loc["first", "ratio"])
    assert frame.loc["third", "low"] == 20
    assert [box.name for box in result.plot().data] == [*times, "fourth"]


def test_latencies_wait_for_the_devices_they_are_given(clock, monkeypatch):
    waits = []
    monkeypatch.setattr(torch.accelerator, "synchronize", waits.append)
    gpu = torch.device("cuda", 0)
    result = latencies({"a": clock.call("a", 0.2)}, rounds=6, devices=[gpu])
    assert waits == [gpu] * 2 * 7  # before and after each look at the clock
    assert result.source == "cuda"
    waits.clear()
    latencies({"a": clock.call("a", 0.2)}, rounds=6)
    assert waits == []  # this process uses no GPU


def test_latencies_refuse_no_calls_and_too_few_rounds():
    with pytest.raises(ValueError, match="at least one call; got none"):
        latencies({})
    with pytest.raises(ValueError, match="rounds must be at least 6"):
        latencies({"a": int}, rounds=5)


def test_latency_is_the_median_of_one_call(clock):
    result = latency(clock.model("a", 0.25), torch.ones(1), rounds=8)
    assert result.ms.value == pytest.approx(250)
    assert result.ms.unit == "ms"
    assert result.ms.source == source_of([torch.device("cpu")])
    assert result.ratio is None
    assert "One call takes 250 ms" in result.why()
    assert list(result.to_frame().index) == ["model"]


def test_short_calls_are_repeated_within_a_sample(clock):
    result = latency(clock.model("a", 1e-5), torch.ones(1), rounds=6, warmup=0)
    assert len(clock.order) == 1 + 6 * 100  # 1 ms per sample
    assert result.ms.value == pytest.approx(0.01)


def test_model_and_baseline_take_turns(clock):
    """A machine that keeps slowing down does not change the ratio."""
    models = clock.model("a", 0.2, drift=0.01), clock.model("b", 0.4, drift=0.01)
    result = latency(models[0], torch.ones(1), models[1], rounds=10, warmup=0)
    timed = clock.order[2:]
    pairs = [tuple(timed[i : i + 2]) for i in range(0, 20, 2)]
    assert set(pairs) == {("a", "b"), ("b", "a")}
    assert pairs[0] != pairs[1]
    ratios = [a / b for a, b in zip(*result.samples_ms.values(), strict=True)]
    assert result.ratio.value == pytest.approx(float(np.median(ratios)))
    assert result.ratio.high < 1
    assert "faster" in result.why()
    assert list(result.to_frame().index) == ["model", "baseline", "ratio"]
    assert [box.name for box in result.plot().data] == ["model", "baseline"]


def test_latency_of_equal_models_shows_no_difference(clock):
    same = clock.model("a", 0.2)
    result = latency(same, torch.ones(1), same, rounds=6)
    assert result.ratio.value == pytest.approx(1)
    assert "no significant difference" in result.why()


def test_an_empty_module_is_a_baseline():
    """Its length is 0, but it is not None."""
    result = latency(nn.Linear(1, 1), torch.ones(1), nn.Sequential(), rounds=6)
    assert result.baseline_ms.value > 0


def test_modules_are_put_back_as_they_were():
    model, seen = nn.Sequential(nn.Linear(2, 2), nn.Dropout()), []
    model[1].register_forward_hook(
        lambda module, *_: seen.append((module.training, torch.is_grad_enabled()))
    )
    model.train()
    latency(model, (torch.ones(3, 2),), rounds=6)
    assert set(seen) == {(False, False)}
    assert model.training


def test_latency_refuses_too_few_rounds():
    with pytest.raises(ValueError, match="rounds must be at least 6"):
        latency(abs, torch.ones(1), rounds=5)
    with pytest.raises(ValueError, match="not be negative; got 6 and -1"):
        latency(abs, torch.ones(1), rounds=6, warmup=-1)
