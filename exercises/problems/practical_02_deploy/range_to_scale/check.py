"""Compute scale and zero point of an asymmetric 8-bit tensor, with an exact 0.0."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

RANGES = (
    (0.0, 6.0),
    (-1.0, 3.0),
    (0.5, 2.0),
    (-4.0, -1.0),
    (-0.3, 0.0),
    (2.0, 2.0),
    (-3.0, -3.0),
    (0.0, 0.0),
)


def check(answer, rng) -> None:
    expect.function(answer, "scale_and_zero")
    random_ranges = [
        tuple(sorted(rng.normal(0, 10 ** rng.uniform(-2, 2), 2))) for _ in range(8)
    ]
    for low, high in [*RANGES, *random_ranges]:
        call = f"scale_and_zero({low:.4g}, {high:.4g})"
        values = expect.parts(expect.call(answer, float(low), float(high)), 2, call)
        scale, zero = (float(expect.shape(part, (), call)) for part in values)
        compare(scale, zero, min(low, 0.0), max(high, 0.0), (low, high), call)


def compare(scale, zero, low, high, original, call: str) -> None:
    if not np.isfinite(zero) or zero != round(zero):
        raise Failed("whole", call=call, zero=zero)
    width = high - low
    if width == 0 and not (np.isfinite(scale) and scale > 0):
        raise Failed("empty", call=call, scale=scale)
    if width > 0 and not near(scale, width / 255):
        if near(scale, (original[1] - original[0]) / 255):
            raise Failed("contain", call=call)
        if near(scale, width / 256):
            raise Failed("steps", call=call)
        raise Failed("expect.value", what=f"{call}[0]", got=scale, want=width / 255)
    if not 0 <= zero <= 255:
        raise Failed("code", call=call, zero=zero)
    if width > 0 and abs(zero - (-low / width * 255)) > 0.5001:
        raise Failed("zero", call=call, zero=zero, low=low)


def near(scale: float, want: float) -> bool:
    return bool(np.isclose(scale, want, rtol=1e-6, atol=0))
