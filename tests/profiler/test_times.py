"""The times in a profile, computed from a clock whose readings the test decides."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deepseek_learn import profiler
from deepseek_learn.measure import Roof, clock
from deepseek_learn.profiler import model_profiler, recorder

FIRST_MS = 1000.0  # the first pass, which counts for no result
ROOF = Roof(gemm_gflops=1.0, conv_gflops=1.0, bandwidth_gbs=1.0, overhead_us=1.0)


class Stopwatch:
    """A `time` module in whose pairs of readings the given seconds pass."""

    def __init__(self, durations):
        self.durations, self.now, self.runs = iter(durations), 0.0, False

    def perf_counter(self):
        if self.runs:
            self.now += next(self.durations)
        self.runs = not self.runs
        return self.now


@pytest.fixture
def timed(monkeypatch):
    """Profile a model whose passes and operators take as many ms as the test says."""

    def run(model, passes_ms, operators_ms):
        passes = Stopwatch(ms / 1e3 for ms in [FIRST_MS, *passes_ms])
        operators = Stopwatch(ms / 1e3 for each in operators_ms for ms in each)
        monkeypatch.setattr(clock, "time", passes)
        monkeypatch.setattr(recorder, "time", operators)
        monkeypatch.setattr(model_profiler, "measured_roof", lambda *_, **__: ROOF)
        result = profiler.profile(model, torch.ones(2, 3), repeats=len(passes_ms))
        for stopwatch in (passes, operators):
            assert not list(stopwatch.durations)  # each duration was measured
        return result

    return run


def test_times_are_medians_and_quartiles_in_ms(timed):
    model = nn.Sequential(nn.ReLU(), nn.Sigmoid())
    operators = [(0.5, 8.0), (0.1, 6.0), (0.4, 2.0), (0.2, 4.0), (0.3, 10.0)]
    result = timed(model, [8.0, 2.0, 4.0, 1.0, 16.0], operators)
    times = result.latency_low_ms, result.latency_ms, result.latency_high_ms
    assert times == pytest.approx((2.0, 4.0, 8.0))
    relu, sigmoid = result.operators.itertuples()
    assert (relu.latency_ms, relu.iqr_ms) == pytest.approx((0.3, 0.2))
    assert (sigmoid.latency_ms, sigmoid.iqr_ms) == pytest.approx((6.0, 4.0))
    assert "4" in result.why().split("ms")[0]


def test_the_table_adds_up_times_and_shares(timed):
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Sigmoid(), nn.ReLU()))
    result = timed(model, [5.0] * 3, [(1.0, 6.0, 3.0)] * 3)
    by_operator = result.to_frame(by="operator")
    times = by_operator["latency_ms"].to_dict()
    assert sorted(times.values()) == pytest.approx([4.0, 6.0])
    assert sorted(by_operator["share_%"]) == pytest.approx([40.0, 60.0])
    assert sorted(by_operator["calls"]) == [1, 2]
    by_layer = result.to_frame()["latency_ms"]
    assert by_layer[["0", "1.0", "1.1"]].tolist() == pytest.approx([1.0, 6.0, 3.0])


def test_a_single_repeat_is_its_own_quartiles(timed):
    result = timed(nn.ReLU(), [7.0], [(3.0,)])
    times = result.latency_low_ms, result.latency_ms, result.latency_high_ms
    assert times == pytest.approx((7.0, 7.0, 7.0))
    assert result.operators["latency_ms"].tolist() == pytest.approx([3.0])
    assert result.operators["iqr_ms"].tolist() == [0.0]


def test_two_sides_are_compared_by_their_times(timed):
    fast = timed(nn.ReLU(), [2.0] * 3, [(1.0,)] * 3)
    slow = timed(nn.ReLU(), [6.0] * 3, [(5.0,)] * 3)
    comparison = profiler.Comparison(fast, slow, ("fast", "slow"))
    change = comparison.to_frame()["latency_ms", "b - a"]
    assert change.sum() == pytest.approx(4.0)


def test_the_time_of_a_sample_is_that_of_a_call(monkeypatch):
    # 1. one warm-up call in an estimate of 0.25 ms: 4 calls make a sample of 1 ms
    stopwatch = Stopwatch([0.00025, 0.002])
    monkeypatch.setattr(clock, "time", stopwatch)
    calls = []
    sample = clock.sampler(lambda: calls.append(1), warmup=2)
    assert len(calls) == 3
    assert sample() == pytest.approx(0.5)  # 2 ms for 4 calls
    assert len(calls) == 7


def test_the_median_of_a_duration_is_in_ms(monkeypatch):
    # the start; three calls; the time for a fourth; there is none for a fifth
    readings = [0, 0, 3, 3, 10, 10, 15, 15, 15, 24, 30]
    stopwatch = iter(ms / 1e3 for ms in readings)
    monkeypatch.setattr(
        clock, "time", SimpleNamespace(perf_counter=lambda: next(stopwatch))
    )
    median = clock.median_ms(lambda: None, duration=0.025)
    assert median == pytest.approx(6.0)  # of 3, 7, 5 and 9 ms
    assert not list(stopwatch)
