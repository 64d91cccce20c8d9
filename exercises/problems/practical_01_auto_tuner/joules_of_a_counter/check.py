"""Compute energy from a counter that wraps to zero."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "joules")
    for readings, wraps_at in draw(rng):
        total = sum((b - a) % wraps_at for a, b in pairwise(readings))
        got = expect.call(answer, readings, wraps_at)
        compare(got, total / 1e6, readings, wraps_at)


def draw(rng) -> Iterator[tuple[list[int], int]]:
    """Yield readings, and where the counter wraps; edge cases first."""
    last = int(rng.integers(10**6, 10**9))
    far = int(rng.integers(2**33, 2**38))  # real counters exceed 32 bits
    yield [0, far // 3, 2 * far // 3, far // 5, far // 2], far
    yield [last - 7, 3], last  # across the wrap
    yield [last - 1, 0], last  # one step, across the wrap
    yield [5, 4, 3], last  # nearly a full wrap, twice
    yield [7, 7, 7, 9], last  # no change: no wrap
    yield [last // 2], last  # a single reading: no energy
    for trial in range(12):
        wraps_at = int(rng.integers(10**6, 2**38 if trial % 2 else 10**9))
        size = int(rng.integers(2, 30))
        steps = rng.integers(0, wraps_at, size, endpoint=False)
        if trial % 3 == 0:
            steps = steps // (4 * size)  # rarely wraps
        start = int(rng.integers(0, wraps_at))
        yield [int(n) for n in (start + np.cumsum([0, *steps])) % wraps_at], wraps_at


def compare(got, want: float, readings: list[int], wraps_at: int) -> None:
    what = "joules(readings, wraps_at)"
    value = float(expect.shape(got, (), what))
    if same(value, want):
        return
    matches = [
        k for k, guess in mistakes(readings, wraps_at) if same(value, guess / 1e6)
    ]
    if len(matches) == 1:
        raise Failed(matches[0], got=value, want=want)
    if value < 0:
        raise Failed("negative", got=value, want=want)
    raise Failed("expect.value", what=what, got=value, want=want)


def mistakes(readings: list[int], wraps_at: int) -> Iterator[tuple[str, float]]:
    """Yield known mistakes, and the microjoules that each gives."""
    steps = [b - a for a, b in pairwise(readings)]
    ends = readings[-1] - readings[0]
    yield "unit", 1e6 * sum(step % wraps_at for step in steps)
    for guess in {ends, ends % wraps_at}:
        yield "ends", guess
    yield "dropped", sum(max(step, 0) for step in steps)
    yield "restarted", sum(b if b < a else b - a for a, b in pairwise(readings))
    yield "short", sum(s + (wraps_at - 1) * (s < 0) for s in steps)
    yield "whole", 1e6 * (sum(step % wraps_at for step in steps) // 10**6)


def same(value: float, guess: float) -> bool:
    return abs(value - guess) <= 1e-9 * max(abs(guess), 1)
