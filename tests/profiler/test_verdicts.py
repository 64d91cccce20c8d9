"""Verdicts follow from hand-calculated floors."""

import math

import pandas as pd
import pytest

from deepseek_learn.profiler import Roof
from deepseek_learn.profiler.verdicts import floors, judge

ROOF = Roof(gemm_gflops=100, conv_gflops=50, bandwidth_gbs=10, overhead_us=5)


def operators(*rows):
    columns = [
        "layer",
        "operator",
        "flops",
        "bytes_read",
        "bytes_written",
        "latency_ms",
    ]
    return pd.DataFrame(rows, columns=columns)


def layers(*names):
    return pd.DataFrame({"type": ["Linear"] * len(names)}, index=list(names))


def verdict(*row):
    (only,) = judge(layers("a"), operators(("a", *row)), ROOF)
    return only


def test_floors_by_hand():
    table = operators(
        ("a", "mm", 2e9, 4e6, 6e6, 30), ("b", "convolution", 2e9, 0, 0, 50)
    )
    result = floors(table, ROOF)
    assert list(result["compute"]) == pytest.approx([20, 40])  # at the conv's own peak
    assert list(result["memory"]) == pytest.approx([1, 0])
    assert list(result["overhead"]) == pytest.approx([0.005, 0.005])


def test_the_highest_floor_names_the_bound():
    compute = verdict("mm", 2e9, 1e6, 1e6, 40)
    assert (compute.bound, compute.of_roof) == ("compute", pytest.approx(0.5))
    assert compute.intensity == pytest.approx(1000)
    assert "multiply-adds" in compute.advice
    memory = verdict("relu", 0, 5e7, 5e7, 20)
    assert (memory.bound, memory.of_roof) == ("memory", pytest.approx(0.5))
    assert "bytes" in memory.advice
    overhead = verdict("relu", 0, 8, 8, 0.01)
    assert (overhead.bound, overhead.of_roof) == ("overhead", pytest.approx(0.5))
    assert "larger batch" in overhead.advice


def test_over_the_roof_is_suspect_and_far_below_is_said():
    over = verdict("mm", 2e9, 0, 0, 10)
    assert over.suspect
    assert "do not trust" in over.advice
    assert over.speed_up == 1  # above the roof there is nothing to gain
    far = verdict("mm", 2e9, 0, 0, 200)
    assert not far.suspect
    assert "kernel itself" in far.advice
    assert "10% of this machine's roof" in str(far)


def test_shares_and_the_gain_of_the_whole():
    table = operators(("a", "mm", 2e9, 0, 0, 60), ("b", "mm", 2e9, 0, 0, 40))
    first, second = judge(layers("a", "b"), table, ROOF)
    assert (first.layer, first.share) == ("a", pytest.approx(0.6))
    assert first.speed_up == pytest.approx(100 / 60)  # 40 ms of its 60 less
    assert second.share == pytest.approx(0.4)


def test_layers_without_time_have_no_verdict():
    table = operators(("a", "view", 0, 0, 0, 0.0), ("b", "mm", 1, 0, 0, math.nan))
    assert judge(layers("a", "b"), table, ROOF) == []
