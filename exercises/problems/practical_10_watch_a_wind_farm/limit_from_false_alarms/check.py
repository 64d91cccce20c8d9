"""The smallest limit with few enough alarms."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

WEEK = 28


def check(answer, rng) -> None:
    expect.function(answer, "limit")
    cases = [
        (year(rng, n), most) for n, most in ((4, 4), (4, 1), (1, 3), (3, 0), (2, 6))
    ]
    cases += [(apart(28), 1), (apart(29), 1), (apart(29), 2), (apart(35, gap=9), 1)]
    for scores, most in cases:
        call = f"limit(scores of {len(scores)} turbines, {most})"
        got = expect.call(answer, [each.copy() for each in scores], most)
        compare(float(expect.shape(got, (), call)), scores, most, call)


def year(rng, count: int) -> list[np.ndarray]:
    """Return scores that move slowly, with gaps."""
    rows = []
    for _ in range(count):
        steps = rng.normal(size=400)
        row = np.zeros(400)
        for t in range(1, 400):
            row[t] = 0.9 * row[t - 1] + steps[t]
        row = np.round(row / row.std(), 4)
        row[rng.random(400) < 0.1] = np.nan
        rows.append(row)
    return rows


def apart(blocks: int, gap: int = 0) -> list[np.ndarray]:
    """Return one turbine with two peaks, that many blocks apart, and one that is calm.

    Args:
        gap: how many blocks between the peaks are missing.
    """
    row = np.full(120, 0.5)
    row[22 : 22 + gap] = np.nan
    row[20], row[20 + blocks] = -4.0, 3.0
    return [row, np.full(120, 0.25)]


def count(scores: list[np.ndarray], limit: float, week: int = WEEK) -> int:
    total = 0
    for row in scores:
        on = np.flatnonzero(np.abs(row) > limit)
        total += len(on) and 1 + int((np.diff(on) > week).sum())
    return total


def smallest(scores: list[np.ndarray], most: int, week: int = WEEK) -> float:
    values = np.unique(np.abs(np.concatenate(scores)))
    limits = [0.0, *values[np.isfinite(values)].tolist()]
    best = limits[-1]
    for value in limits[::-1]:
        if count(scores, value, week) > most:
            return best
        best = value
    return best


def compare(got: float, scores: list[np.ndarray], most: int, call: str) -> None:
    want = smallest(scores, most)
    if abs(got - want) <= 1e-6:
        return
    yours = count(scores, got) if np.isfinite(got) else -1
    values = np.unique(np.abs(np.concatenate(scores)))
    above = [v for v in values if np.isfinite(v) and v > got]
    worse = [v for v in above if count(scores, v) > most]
    if worse and 0 <= yours <= most:
        larger = float(worse[-1])
        more = count(scores, larger)
        raise Failed("lower", call=call, got=got, yours=yours, larger=larger, more=more)
    if abs(got - smallest(scores, most, week=0)) <= 1e-9:
        raise Failed("blocks", call=call, got=got)
    alarms = count(scores, want)
    raise Failed("value", call=call, want=want, alarms=alarms, got=got, yours=yours)
