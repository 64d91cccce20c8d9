"""The engine's self-check: compare its answers with the stored ones."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "difference")
    for trial in range(16):
        shape = tuple(int(n) for n in rng.integers(1, 6, int(rng.integers(1, 4))))
        stored = rng.normal(0, 10 ** rng.uniform(-3, 3), shape).astype(np.float32)
        perturbed = stored + 0.01 * np.abs(stored).max() * rng.normal(size=shape)
        perturbed = perturbed.astype(np.float32)
        compare(answer, perturbed, stored, "random numbers")
        if trial % 4 == 0:
            r, y = stored.copy(), perturbed.copy()
            r.flat[0] = y.flat[0] = np.nan
            compare(answer, y, r, "NaN in the same place")
            y.flat[0] = 1.0
            compare(answer, y, r, "NaN in the stored answer alone")
            y.flat[0] = np.nan
            compare(answer, y, stored, "NaN in the answer alone")
            y, r = perturbed.copy(), stored.copy()
            y.flat[0] = r.flat[0] = np.inf
            compare(answer, y, r, "the same infinity")
        longer = np.concatenate([perturbed, perturbed])
        compare(answer, longer, stored, "a different shape")
        compare(answer, stored[None], stored, "the same numbers in a different shape")
        compare(answer, np.abs(stored), np.zeros_like(stored), "stored zeros")
        compare(answer, stored, stored, "identical arrays")
        ends = np.full_like(stored, np.inf)
        compare(answer, -ends, ends, "the opposite infinity")
        compare(answer, stored, ends, "infinity in the stored answer alone")
        compare(answer, ends, ends, "the same infinity everywhere")


def reference(answer: np.ndarray, stored: np.ndarray) -> float:
    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(y - r)).max()
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return float("inf") if np.isnan(error) else error / max(largest, 1e-12)


def compare(answer, y, r, what: str) -> None:
    want = reference(y, r)
    got = expect.call(answer, y, r)
    value = float(expect.shape(got, (), f"difference(...), {what}"))
    if want == value or np.isclose(value, want, rtol=1e-4):
        return
    if np.isnan(value):
        raise Failed("nan", what=what)
    if np.isinf(want):
        raise Failed("infinite", what=what, got=value)
    raise Failed("value", what=what, got=value, want=want)
