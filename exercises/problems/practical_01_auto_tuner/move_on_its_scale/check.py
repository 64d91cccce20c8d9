"""A mutation that handles logarithmic axes and integers."""

import math

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# (value, low, high, log, whole, step): bounds, negative values, zero step, overshoot
CASES = (
    (-5, -20, -1, False, True, 0.07),
    (-5, -20, -1, False, True, -0.07),
    (0.0, -1.0, 1.0, False, False, 0.25),
    (0.25, 0.0, 1.0, False, False, -0.5),
    (0.001, 0.001, 0.1, True, False, 0.0),
    (0.1, 0.001, 0.1, True, False, 0.3),
    (1, 1, 64, True, True, 1.5),
    (64, 1, 64, True, True, -0.5),
    (10, 1, 20, False, True, 0.01),  # moves by less than 0.5: unchanged
    (30, 1, 64, True, True, -0.002),
    (9, 1, 20, False, True, 0.0),
)


def check(answer, rng) -> None:
    expect.function(answer, "mutate")
    cases = list(CASES)
    for trial in range(24):
        log, whole = bool(trial % 2), trial % 4 >= 2
        low: float
        high: float
        value: float
        if whole:
            low, high = int(rng.integers(1, 5)), int(rng.integers(20, 200))
            value = int(rng.integers(low, high + 1))
        else:
            low, high = 10.0 ** rng.uniform(-5, -3), 10.0 ** rng.uniform(-1, 1)
            low, high = float(low), float(high)
            value = float(low * (high / low) ** rng.random())
        step = float(rng.normal(0, 0.5 if trial % 3 == 0 else 0.1))
        cases.append((value, low, high, log, whole, step))
    for case in cases:
        want, near_tie = reference(*case)
        if not near_tie:
            compare(expect.call(answer, *case), want, case)


def reference(value, low, high, log: bool, whole: bool, step: float):
    """Return the new value, and whether rounding might go either way."""
    scale, back = (math.log, math.exp) if log else (float, float)
    place = (scale(value) - scale(low)) / (scale(high) - scale(low)) + step
    place = min(max(place, 0.0), 1.0)
    result = back(scale(low) + place * (scale(high) - scale(low)))
    if not whole:
        return result, False
    return round(result), abs(result - math.floor(result) - 0.5) < 1e-6


def compare(got, want, arguments: tuple) -> None:
    value, low, high, log, whole, step = arguments
    call = f"mutate({value:.6g}, {low:.6g}, {high:.6g}, {log}, {whole}, {step:.3f})"
    number = float(expect.shape(got, (), call))
    size = abs(want) if log else high - low
    if not low - 1e-9 * size <= number <= high + 1e-9 * size:
        raise Failed("outside", call=call, got=number)
    if whole and number != round(number):
        raise Failed("whole", call=call, got=number)
    if abs(number - want) > 1e-9 * size:
        other = low > 0 and reference(value, low, high, not log, whole, step)[0]
        if other and abs(number - other) <= 1e-9 * abs(other):
            kind = "logarithmic" if log else "linear"
            raise Failed(kind, call=call, got=number, want=want)
        raise Failed("expect.value", what=call, got=number, want=want)
