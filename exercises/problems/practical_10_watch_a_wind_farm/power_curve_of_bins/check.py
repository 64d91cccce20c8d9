"""The median power in bins of the wind speed."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

BINS, LEAST = 50, 6


def check(answer, rng) -> None:
    expect.function(answer, "power_curve")
    for wind, power in (measured(rng), edges(rng), few(rng), measured(rng)):
        call = f"power_curve({len(wind)} samples)"
        got = expect.call(answer, wind.copy(), power.copy())
        compare(expect.shape(got, (BINS,), call), wind, power, call)


def measured(rng) -> tuple[np.ndarray, np.ndarray]:
    """Return records with gaps, stops and calms."""
    wind = np.round(rng.gamma(4, 2, 4000), 2)
    power = np.clip(2.3 * wind**3, 0, 2050) * rng.lognormal(0, 0.3, 4000) - 5
    stopped = (rng.random(4000) < 0.15) & (wind > 4.5)
    power[stopped] = rng.choice([0.0, -4.0], stopped.sum())
    wind[rng.random(4000) < 0.03] = np.nan
    power[rng.random(4000) < 0.03] = np.nan
    return wind, np.round(power, 1)


def edges(rng) -> tuple[np.ndarray, np.ndarray]:
    """Return winds that lie exactly between two bins, and at 4.5 m/s."""
    wind = np.repeat(np.arange(0, 27, 0.5), 7)
    power = 10 * wind + rng.lognormal(2, 1, len(wind))
    power[wind == 4.5] = -2.0  # not stopped yet
    return _shuffled(rng, wind, power)


def few(rng) -> tuple[np.ndarray, np.ndarray]:
    """Return bins with 4 to 8 samples."""
    counts = rng.integers(4, 9, BINS)
    counts[[30, 31]] = 7  # of which two are samples of a stopped turbine
    wind = np.repeat(np.arange(BINS) * 0.5 + 0.2, counts)
    power = 30 * wind + rng.lognormal(3, 1, len(wind))
    for k, value in ((30, 0.0), (31, -3.0)):
        power[np.flatnonzero(wind == k * 0.5 + 0.2)[:2]] = value
    return _shuffled(rng, wind, power)


def _shuffled(rng, wind: np.ndarray, power: np.ndarray):
    order = rng.permutation(len(wind))
    return wind[order], power[order]


def compare(got: np.ndarray, wind: np.ndarray, power: np.ndarray, call: str) -> None:
    there = np.isfinite(wind) & np.isfinite(power)
    stopped = there & (wind > 4.5) & (power <= 0)
    number = np.floor(np.where(there, wind, -1) / 0.5)
    for k in range(BINS):
        inside = power[(number == k) & there & ~stopped]
        facts: dict = {"call": call, "bin": k, "low": 0.5 * k, "high": 0.5 * (k + 1)}
        facts |= {"samples": len(inside), "got": float(got[k])}
        if (len(inside) < LEAST) != bool(np.isnan(got[k])):
            right = "NaN" if len(inside) < LEAST else f"{np.median(inside):.2f}"
            raise Failed("gaps", want=right, **facts)
        if len(inside) < LEAST:
            continue
        want = float(np.median(inside))
        if abs(got[k] - want) <= 1e-6 * max(1, abs(want)):
            continue
        every = power[(number == k) & there]
        guesses = {
            "mean": np.mean(inside),
            "stopped": np.median(every),
            "waiting": np.median(inside[inside > 0]) if (inside > 0).any() else np.nan,
        }
        for key, guess in guesses.items():
            if abs(got[k] - guess) <= 1e-6 * max(1, abs(guess)):
                raise Failed(key, call=call, bin=k)
        raise Failed("value", want=want, **facts)
