"""The rank of split conformal prediction, where off by one breaks the promise."""

import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# The number of scores and the rate: just enough, one too few, more than enough. If
# (n + 1) * rate is a whole number, both are powers of two, so that nothing is rounded.
CASES = (
    (15, 1 / 16),
    (14, 1 / 16),
    (16, 1 / 16),
    (31, 1 / 16),
    (7, 1 / 8),
    (6, 1 / 8),
    (3, 1 / 4),
    (1, 1 / 2),
    (63, 1 / 64),
    (57, 0.05),
    (19, 0.051),
    (18, 0.051),
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
            if Fraction(str(rate)) * (count + 1) % 1:  # see CASES
                yield count, rate
                break


def rank(count: int, rate: float) -> int:
    """Return the smallest k with (count + 1 - k) / (count + 1) <= rate, exactly."""
    exact = Fraction(str(rate))
    return next(k for k in range(1, count + 2) if count + 1 - k <= exact * (count + 1))


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
