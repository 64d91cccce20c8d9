"""Convert stored values to HU, with padding."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

TOLERANCE = 0.01  # float32 is enough


def check(answer, rng) -> None:
    expect.function(answer, "to_hu")
    for kind, padding in (
        ("u2", None),
        ("i2", None),
        ("u2", 0),
        ("i2", -2000),
        ("u2", 63536),
        ("i2", 0),
    ):
        shape = tuple(int(n) for n in rng.integers(3, 6, rng.integers(1, 4)))
        low = 0 if kind == "u2" else -1100
        stored = rng.integers(low, 3000, shape).astype(kind)
        stored.flat[0] = 10 + rng.integers(50)  # below 1024: wraps in unsigned integers
        if kind == "i2":
            stored.flat[1] = -1000  # less than -1024 HU
        if padding is not None:
            stored.flat[-1] = padding
        slope = float(rng.choice([0.5, 1.5, 2.0]))
        intercept = float(-1024 - rng.integers(1, 200))
        compare(answer, stored, slope, intercept, padding)


def compare(answer, stored, slope, intercept, padding) -> None:
    call = f"to_hu({stored.dtype} array, {slope}, {intercept}, {padding})"
    got = expect.shape(
        expect.call(answer, stored.copy(), slope, intercept, padding),
        stored.shape,
        call,
    )
    outside = np.zeros(stored.shape, bool) if padding is None else stored == padding
    want = np.where(outside, -1024, stored.astype(float) * slope + intercept)
    off = ~(np.abs(got - want) <= TOLERANCE)
    if not off.any():
        return
    where = tuple(np.argwhere(off)[0])
    if outside[where]:
        raise Failed("padding", call=call, got=got[where])
    if abs(abs(got[where] - want[where]) - 65536) < 1:
        raise Failed("wraps", call=call, got=got[where])
    facts = {"stored": int(stored[where]), "want": want[where], "got": got[where]}
    raise Failed("value", call=call, **facts)
