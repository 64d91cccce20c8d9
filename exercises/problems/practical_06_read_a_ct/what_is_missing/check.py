"""Find the heights of missing slices."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

TOLERANCE_MM = 0.3


def check(answer, rng) -> None:
    expect.function(answer, "missing")
    cases = [draw(rng, lost) for lost in ((), (1,), (3,), (1, 2), (2, 1, 3), (4,))]
    cases += [draw_few(rng, lost) for lost in ((1, 2), (1, 1, 1))]
    for heights, want in cases:
        call = f"missing({len(heights)} heights)"
        got = expect.numbers(expect.call(answer, heights.copy()), call)
        if got.size != len(want) or got.ndim > 1:
            raise Failed("count", call=call, want=len(want), got=int(got.size))
        for height, value in zip(want, got.ravel(), strict=True):
            if not abs(value - height) <= TOLERANCE_MM:
                raise Failed("where", call=call, want=height, got=float(value))


def draw(rng, lost: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Draw rounded heights, of which runs of these lengths are missing.

    Between two runs, and at both ends, at least two neighbors are left. Some spacings are
    no multiples of 0.1 mm, so that rounding makes the gaps uneven.
    """
    spacing = float(rng.choice([0.625, 1.25, 1.75, 2.15]))
    present: list[bool] = []
    for run in lost:
        present += [True] * int(rng.integers(3, 6)) + [False] * run
    present += [True] * int(rng.integers(3, 6)) + [True] * (not lost) * 4
    return rounded(rng, spacing, np.array(present))


def draw_few(rng, lost: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Draw heights of which only the last two are neighbors; most gaps are large."""
    present = [True]
    for run in lost:
        present += [False] * run + [True]
    spacing = float(rng.choice([1.25, 1.75, 2.15]))
    return rounded(rng, spacing, np.array([*present, True]))


def rounded(rng, spacing: float, keep: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the heights that are left, shuffled, and the exact ones that are missing."""
    exact = rng.uniform(-300, 100) + spacing * np.arange(len(keep))
    heights = np.round(exact[keep], 1)
    while True:  # an order that shows gaps where there are none
        heights = rng.permutation(heights)
        if (np.diff(heights) < 0).any() and (np.diff(heights) > 0).any():
            return heights, exact[~keep]
