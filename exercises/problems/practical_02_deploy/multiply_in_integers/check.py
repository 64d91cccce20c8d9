"""A matrix product whose inner loop uses integers only."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "linear_int8")
    for trial in range(10):
        rows, inner, columns = (int(n) for n in rng.integers(1, 40, 3))
        inner = 700 if trial == 0 else inner  # a sum that overflows 16 bits
        if trial == 3:  # a scale along the wrong axis fits as well
            rows = inner = columns = max(2, columns)
        q = rng.integers(0, 256, (rows, inner), dtype=np.uint8)
        w = rng.integers(-127, 128, (columns, inner), dtype=np.int8)
        s_x, s_w = float(rng.uniform(0.01, 1)), rng.uniform(0.01, 1, columns)
        z = (0, 255, 128)[trial] if trial < 3 else int(rng.integers(0, 256))
        if trial == 0:
            q[:], w[:] = 255, 127
        sizes = f"w {list(w.shape)}, s_w {list(s_w.shape)}"
        call = f"linear_int8(q {list(q.shape)}, s_x, z={z}, {sizes})"
        got = expect.call(answer, q, s_x, z, w, s_w)
        compare(got, (q, s_x, z, w, s_w), call)


def compare(got, inputs, call: str) -> None:
    q, s_x, z, w, s_w = inputs
    exact = (q.astype(np.int64) - z) @ w.astype(np.int64).T
    want = s_x * exact * s_w
    got = expect.shape(got, want.shape, call)
    guesses = {
        "zero": s_x * (q.astype(np.int64) @ w.astype(np.int64).T) * s_w,
        "scale": s_x * exact,
        "rows": s_x * exact * s_w[:1],
        "axis": s_x * exact * s_w[:, None] if len(q) == len(w) else exact,
        "mean": s_x * exact * s_w.mean(),
    }
    short = (q.astype(np.int16) - np.int16(z)) @ w.astype(np.int16).T
    guesses |= {"wrapped": s_x * short * s_w}
    matches = [key for key, x in guesses.items() if np.allclose(got, x, rtol=1e-6)]
    if np.allclose(got, want, rtol=1e-6, atol=1e-9):
        return
    if len(matches) == 1:
        raise Failed(matches[0], call=call)
    expect.close(got, want, call, 1e-6)
