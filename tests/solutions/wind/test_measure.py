"""Hits and the CARE score, against figures worked out by hand."""

import numpy as np
import pytest

from deepseek_learn.solutions.wind.measure import Window, care, critical, f_half, hit


def blocks(*on, count=20):
    row = np.zeros(count, bool)
    row[list(on)] = True
    return row


def test_a_hit_comes_in_time_and_before_the_untouched_records():
    assert hit(blocks(8), blocks(), onset=5, blocks=4)
    assert not hit(blocks(9), blocks(), onset=5, blocks=4)  # too late
    assert not hit(blocks(8), blocks(8), onset=5, blocks=4)  # would have come anyway
    assert hit(blocks(7), blocks(8), onset=5, blocks=4)
    assert not hit(blocks(3), blocks(), onset=5, blocks=4)  # before the fault
    assert not hit(blocks(), blocks(), onset=5, blocks=4)


def test_precision_counts_more_than_recall():
    assert f_half(4, 0, 0) == 1
    assert f_half(0, 3, 3) == 0
    # precision 1/2, recall 1: F = 1.25 * 0.5 / (0.25 * 0.5 + 1)
    assert f_half(4, 4, 0) == pytest.approx(0.625 / 1.125)
    assert f_half(4, 0, 4) == pytest.approx(0.625 / 0.75)


def test_criticality_grows_and_shrinks():
    assert critical(blocks(3, 4), 2)
    assert not critical(blocks(3, 5, 7), 2)
    assert critical(blocks(1, 2, 4, 5), 3)


def test_care_by_hand():
    faulty = blocks(*range(10, 20))
    windows = [
        Window(blocks(*range(10, 20)), faulty),  # found at once
        Window(blocks(*range(15, 20)), faulty),  # found half-way
        Window(blocks(), blocks()),
        Window(blocks(5, 6), blocks()),  # a false alarm, critical after two blocks
    ]
    result = care(windows, block_hours=6.0)
    assert result.detected == 2
    assert result.coverage == pytest.approx((1 + f_half(5, 0, 5)) / 2)
    assert result.accuracy == pytest.approx((1 + 0.9) / 2)
    assert result.reliability == pytest.approx(f_half(2, 1, 0))
    weight = np.minimum(1, 2 * (1 - (np.arange(10) + 0.5) / 10))
    assert result.earliness == pytest.approx((1 + weight[5:].sum() / weight.sum()) / 2)
    parts = result.coverage + result.earliness + result.reliability
    assert result.score == pytest.approx((parts + 2 * result.accuracy) / 5)


def test_care_of_no_detection_and_of_nothing_but_alarms():
    faulty = blocks(*range(10, 20))
    quiet = [Window(blocks(), faulty), Window(blocks(), blocks())]
    assert care(quiet, 6.0).score == 0
    loud = [Window(~blocks(), faulty), Window(~blocks(), blocks())]
    assert care(loud, 6.0).score == 0  # the accuracy
    with pytest.raises(ValueError, match="needs windows with a fault"):
        care(quiet[:1], 6.0)
