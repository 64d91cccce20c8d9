"""The rank of split conformal prediction, where off by one breaks the promise."""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# the number of scores and the rate: just enough, one too few, more than enough
CASES = (
    (19, 0.05),
    (18, 0.05),
    (20, 0.05),
    (39, 0.05),
    (9, 0.1),
    (8, 0.1),
    (3, 0.25),
    (1, 0.5),
    (99, 0.01),
    (57, 0.05),
)


def check(answer, rng) -> None:
    expect.function(answer, "threshold")
    for trial, (count, rate) in enumerate(cases(rng)):
        scores = rng.gamma(2, 3, count)
        if trial % 3 == 2:  # with ties
            scores = np.round(scores)
        call = f"threshold({count} scores, {rate:g})"
        compare(expect.call(answer, scores, rate), scores, rate, call)


def cases(rng: np.random.Generator) -> Iterator[tuple[int, float]]:
    yield from CASES
    for _ in range(14):
        while True:
            count, rate = int(rng.integers(2, 80)), int(rng.integers(1, 60)) / 100
            if unambiguous(count, rate):
                yield count, rate
                break


def rank(count: int, rate: float) -> int:
    """Return the smallest k with (count + 1 - k) / (count + 1) <= rate, exactly."""
    exact = Fraction(str(rate))
    return next(k for k in range(1, count + 2) if count + 1 - k <= exact * (count + 1))


def unambiguous(count: int, rate: float) -> bool:
    """Return whether rounding to float64 does not matter, however k is computed."""
    ranks = {
        rank(count, rate),
        math.ceil((count + 1) * (1 - rate)),
        math.ceil((count + 1) - (count + 1) * rate),
        count + 1 - math.floor((count + 1) * rate),
        next(k for k in range(1, count + 2) if k / (count + 1) >= 1 - rate),
        next(k for k in range(1, count + 2) if 1 - k / (count + 1) <= rate),
    }
    return len(ranks) == 1


def compare(got, scores: np.ndarray, rate: float, call: str) -> None:
    count, k = len(scores), rank(len(scores), rate)
    ordered = np.sort(scores)
    if k > count:
        if got is not None:
            raise Failed("none", call=call, got=got, chance=1 / (count + 1))
        return
    if got is None:
        raise Failed("missed", call=call, chance=1 / (count + 1))
    want = ordered[k - 1]
    value = float(expect.shape(got, (), call))
    if np.isclose(value, want, rtol=1e-6, atol=0):
        return
    if not np.isclose(ordered, value, rtol=1e-6, atol=0).any():
        raise Failed("between", call=call, got=value)
    if np.isclose(value, ordered[math.ceil(count * (1 - rate) - 1e-9) - 1], rtol=1e-6):
        raise Failed("new_part", call=call, got=value, want=want)
    chance = (count + 1 - (ordered <= value * (1 + 1e-6)).sum()) / (count + 1)
    key = "low" if value < want else "high"
    raise Failed(key, call=call, got=value, want=want, chance=chance)
