"""Compute the percentiles of a run by nearest rank, as the engine reports them."""

import math

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "percentile")
    for size in (1, 2, 3, 10, 20, 99, 100, 101, *rng.integers(4, 400, 8).tolist()):
        ms = rng.lognormal(1, 1, size).round(1).tolist()  # with duplicates
        for part in (0.5, 0.9, 0.99, 1.0, *between_ranks(rng, size)):
            call = f"percentile({size} readings, {part})"
            got = expect.call(answer, ms, part)
            compare(float(expect.shape(got, (), call)), ms, part, call)


def between_ranks(rng, size: int) -> list[float]:
    """Return parts such as 0.137, for which rounding in part * size cannot decide."""
    parts = (rng.integers(1, 1000, 12) / 1000).tolist()
    return [p for p in parts if abs(p * size - round(p * size)) > 1e-6][:2]


def rank(size: int, part: float) -> int:
    """Return the smallest rank with at least `part` of the readings at or below it."""
    return math.ceil(part * size)


def compare(got: float, ms: list[float], part: float, call: str) -> None:
    ordered = sorted(ms)
    want = ordered[rank(len(ms), part) - 1]
    if got == want:
        return
    if got not in ms:
        raise Failed("between", call=call, got=got)
    if got < want:
        raise Failed("below", call=call, got=got, want=want)
    raise Failed("above", call=call, got=got, want=want)
