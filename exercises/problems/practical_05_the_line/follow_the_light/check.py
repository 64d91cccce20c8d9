"""Find the first alarm of an EWMA chart with exact limits."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

KINDS = ("first", "jump", "drift", "peak", "steady", "single", "noise")


def check(answer, rng) -> None:
    expect.function(answer, "first_alarm")
    for kind in KINDS:
        for direction in (1, -1, 1, -1):
            case = draw(rng, kind, direction)
            weight, limit = case[3:]
            call = f"first_alarm({len(case[0])} values, ..., {weight}, {limit})"
            compare(expect.call(answer, *case), alarm(*case), call)

    for sign in (1, -1):  # each value counts alone; the second is exactly at the limit
        values = [sign * value for value in (2.0, 6.0, 7.0)]
        case = values, 0.0, 2.0, 1.0, 3.0
        call = f"first_alarm({values}, 0.0, 2.0, 1.0, 3.0)"
        compare(expect.call(answer, *case), alarm(*case), call)


def draw(rng, kind: str, direction: int) -> tuple:
    """Draw the arguments, in which no average is at a limit exactly."""
    while True:
        mean, deviation = rng.uniform(0.3, 0.7), 10 ** rng.uniform(-3, -1)
        weight = 1.0 if kind == "single" else round(float(rng.uniform(0.08, 0.3)), 2)
        limit = round(float(rng.uniform(2.6, 3.4)), 1)
        steps = direction * standardized(rng, kind, limit)
        values = (mean + deviation * steps).tolist()
        case = values, float(mean), float(deviation), weight, limit
        excess = distances(*case) - limit
        informative = kind in ("steady", "noise") or (excess > 0).any()
        if informative and np.abs(excess).min() > 1e-6:
            return case


def standardized(rng, kind: str, limit: float) -> np.ndarray:
    """Return values with mean 0 and deviation 1, and what happens to them."""
    noise = np.clip(rng.normal(size=40), -2, 2)
    if kind == "first":  # the first value is an alarm, and it does not last
        return np.concatenate([[limit + 0.2], 0.1 * noise])
    if kind == "jump":  # a chart that starts at the first value is too early
        return limit - 0.3 + 0.05 * noise
    if kind == "drift":
        return 0.5 * noise + 0.15 * np.arange(40)
    if kind == "peak":  # returns within the limits
        return np.concatenate([0.3 * noise[:8], np.full(6, 3.0), np.zeros(20)])
    if kind == "steady":
        return 0.2 * noise
    return np.concatenate([noise[:12], [-limit - 0.5], noise[12:]])


def distances(values, mean, deviation, weight, limit) -> np.ndarray:
    """Return how far each average is from the mean, in its standard deviations."""
    z, variance, result = 0.0, 0.0, []
    for value in values:
        z = (1 - weight) * z + weight * (value - mean) / deviation
        variance = (1 - weight) ** 2 * variance + weight**2
        result.append(abs(z) / variance**0.5)
    return np.array(result)


def alarm(values, mean, deviation, weight, limit) -> int | None:
    above = distances(values, mean, deviation, weight, limit) > limit
    return int(above.argmax()) + 1 if above.any() else None


def compare(got, want: int | None, call: str) -> None:
    if got is None:
        if want is not None:
            raise Failed("silent", call=call, want=want)
        return
    value = expect.integer(got, call)
    if want is None:
        raise Failed("false", call=call, got=value)
    if value < want:
        raise Failed("early", call=call, got=value, want=want)
    if value > want:
        raise Failed("late", call=call, got=value, want=want)
