"""Numbers with intervals, and latency next to a baseline."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

from deepseek_learn.measure import (
    Measured,
    latency,
    measured_error,
    measured_median,
    timing,
)


def test_measured_behaves_like_its_number():
    ms = Measured(3.1, 2.9, 3.4, "ms", "cpu, 1 thread")
    assert float(ms) == 3.1
    assert 3 < ms <= 3.1
    assert ms > Measured(3)
    assert sorted([ms, Measured(1)])[0].value == 1
    assert str(ms) == "3.1 ms (2.9–3.4)"
    assert str(Measured(0.5)) == "0.5"
    assert ms.to_dict() | {"unit": "ms"} == ms.to_dict()
    assert Measured(**ms.to_dict()) == ms
    assert Measured(torch.tensor(2.0), np.float32(1), 3).to_dict() == {
        "value": 2.0,
        "low": 1.0,
        "high": 3.0,
    }


def test_measured_scales_with_its_interval():
    half = Measured(4, 2, 8, "J", "rapl") / 2
    assert half == Measured(2, 1, 4, "J", "rapl")
    assert 3 * half == Measured(6, 3, 12, "J", "rapl")
    with pytest.raises(ValueError, match="factor must not be negative; got -1"):
        half * -1


def test_measured_refuses_an_interval_that_is_none():
    with pytest.raises(ValueError, match="between low and high; got 5"):
        Measured(5, 6, 7)
    with pytest.raises(ValueError, match="low and high must be given together"):
        Measured(5, low=4)


@pytest.mark.parametrize(("wrong", "n"), [(0, 10), (3, 10), (10, 10), (70, 2000)])
def test_wilson_interval_solves_its_equation(wrong, n):
    """Its ends are the p0 from which p is z standard errors away (score test)."""
    error = measured_error(wrong, n)
    z = NormalDist().inv_cdf(0.975)
    assert error.value == wrong / n
    for end in (error.low, error.high):
        away = abs(error.value - end)
        if away > 1e-12:
            assert away == pytest.approx(z * math.sqrt(end * (1 - end) / n))
    assert 0 <= error.low <= error.value <= error.high <= 1
    assert error.high - error.low > 0


def test_error_refuses_impossible_counts():
    for wrong, n in ((11, 10), (-1, 10), (0, 0)):
        with pytest.raises(ValueError, match="wrong must be between 0 and n"):
            measured_error(wrong, n)


@pytest.mark.parametrize("n", [6, 7, 15, 30, 101])
def test_median_interval_is_the_tightest_that_covers(n):
    """Coverage of [x_(k), x_(n+1-k)] is 1 - 2 P(Binomial(n, 1/2) < k)."""
    found = measured_median(range(n))
    k = int(found.low) + 1  # values are their own ranks
    assert found.high == n - k
    missed = [sum(math.comb(n, i) for i in range(m)) / 2**n for m in (k, k + 1)]
    assert missed[0] <= 0.025 < missed[1]


def test_median_of_few_or_none():
    assert measured_median([1, 9, 5, 4, 2]) == Measured(4)
    with pytest.raises(ValueError, match="at least one number; got none"):
        measured_median([])


class Clock:
    """A clock that advances only while a model runs."""

    def __init__(self, monkeypatch):
        self.now, self.order = 0.0, []
        monkeypatch.setattr(timing.time, "perf_counter", lambda: self.now)

    def model(self, name, seconds, drift=0.0):
        def call(x):
            self.order.append(name)
            self.now += seconds + drift * self.now
            return x

        return call


def test_latency_is_the_median_of_one_call(monkeypatch):
    clock = Clock(monkeypatch)
    found = latency(clock.model("a", 0.25), torch.ones(1), rounds=8)
    assert found.ms.value == pytest.approx(250)
    assert found.ms.unit == "ms"
    assert found.ms.source == f"cpu, {timing._place(()).split(', ')[1]}"
    assert found.ratio is None
    assert "One call takes 250 ms" in found.why()
    assert list(found.to_frame().index) == ["model"]


def test_short_calls_are_repeated_within_a_sample(monkeypatch):
    clock = Clock(monkeypatch)
    found = latency(clock.model("a", 1e-5), torch.ones(1), rounds=6, warmup=0)
    assert len(clock.order) == 1 + 6 * 100  # 1 ms per sample
    assert found.ms.value == pytest.approx(0.01)


def test_model_and_baseline_take_turns(monkeypatch):
    """A machine that keeps slowing down does not change the ratio."""
    clock = Clock(monkeypatch)
    models = clock.model("a", 0.2, drift=0.01), clock.model("b", 0.4, drift=0.01)
    found = latency(models[0], torch.ones(1), models[1], rounds=10, warmup=0)
    timed = clock.order[2:]
    pairs = [tuple(timed[i : i + 2]) for i in range(0, 20, 2)]
    assert set(pairs) == {("a", "b"), ("b", "a")}
    assert pairs[0] != pairs[1]
    ratios = [a / b for a, b in zip(*found.samples_ms.values(), strict=True)]
    assert found.ratio.value == pytest.approx(float(np.median(ratios)))
    assert found.ratio.high < 1
    assert "faster" in found.why()
    assert list(found.to_frame().index) == ["model", "baseline", "ratio"]
    assert [box.name for box in found.plot().data] == ["model", "baseline"]


def test_latency_of_equal_models_shows_no_difference(monkeypatch):
    clock = Clock(monkeypatch)
    same = clock.model("a", 0.2)
    found = latency(same, torch.ones(1), same, rounds=6)
    assert found.ratio.value == pytest.approx(1)
    assert "no significant difference" in found.why()


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
    with pytest.raises(ValueError, match="warmup not negative; got 6 and -1"):
        latency(abs, torch.ones(1), rounds=6, warmup=-1)
