"""Numbers with intervals."""

import math
from statistics import NormalDist

import numpy as np
import pytest
import torch

from deepseek_learn.measure import (
    Measured,
    measured_error,
    measured_median,
    measured_ratio,
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
    result = measured_median(range(n))
    k = int(result.low) + 1  # values are their own ranks
    assert result.high == n - k
    missed = [sum(math.comb(n, i) for i in range(m)) / 2**n for m in (k, k + 1)]
    assert missed[0] <= 0.025 < missed[1]


def test_median_of_few_or_none():
    assert measured_median([1, 9, 5, 4, 2]) == Measured(4)
    with pytest.raises(ValueError, match="at least one number; got none"):
        measured_median([])


def test_ratio_is_computed_round_by_round():
    """A slow round slows both sides: it moves the times, and not the ratio."""
    ratio = measured_ratio([2, 2, 200, 2, 2, 2], [1, 1, 100, 1, 1, 1], "cpu")
    assert ratio == Measured(2, 2, 2, source="cpu")
    assert measured_ratio([1, 9], [1, 3]).value == 2


def test_ratio_refuses_unequal_sides():
    with pytest.raises(ValueError, match="zip"):
        measured_ratio([1, 2], [1])
