"""Standardize with the statistics of the training set only."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CONSTANT = (0.0, 3.0, -0.5)  # exact in binary, so that their spread is exactly zero


def check(answer, rng) -> None:
    expect.function(answer, "scale")
    for trial in range(8):
        train, test = draw(rng, constant=trial in (1, 3))
        got = expect.call(answer, train, test)
        parts = expect.parts(got, 2, "scale(train, test)")
        mean, spread = statistics(train)
        for i, part in enumerate((train, test)):
            want = (part - mean) / spread
            what = f"scale(train, test)[{i}]"
            name_mistake(expect.shape(parts[i], want.shape, what), want, train, test, i)
            expect.close(parts[i], want, what)


def draw(rng, constant: bool) -> tuple[np.ndarray, np.ndarray]:
    """Draw two sets with different statistics; one column may be constant."""
    n, m, d = (int(k) for k in rng.integers((5, 2, 2), (12, 9, 5)))
    size, center = 10 ** rng.uniform(-1, 1, size=d), rng.normal(size=d)
    train = size * rng.normal(size=(n, d)) + center
    test = 2 * size * rng.normal(size=(m, d)) + center + 3 * size
    if constant:
        train[:, rng.integers(d)] = rng.choice(CONSTANT)
    return train, test


def statistics(part: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    spread = part.std(0)
    return part.mean(0), np.where(np.ptp(part, axis=0) == 0, 1, spread)


def name_mistake(got, want, train, test, part: int) -> None:
    """Raise `Failed` if the answer is a known mistake."""
    if np.allclose(got, want, rtol=1e-5, atol=1e-6):
        return
    if not np.isfinite(got).all():
        raise Failed("constant")
    own = (train, test)[part]
    for key, source in (("together", np.concatenate([train, test])), ("apart", own)):
        mean, spread = statistics(source)
        if np.allclose(got, (own - mean) / spread, rtol=1e-5, atol=1e-6):
            raise Failed(key)
