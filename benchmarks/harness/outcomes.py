"""The outcomes of two models on the same items, and the interval of their difference."""

from collections.abc import Sequence

import numpy as np

from .interval import Estimate, resampled

SAMPLES = 2000


def tally(*columns: Sequence[float]) -> list[list[int]]:
    """Return each distinct row of integers with its count, from one row per item."""
    rows, counts = np.unique(np.column_stack(columns), axis=0, return_counts=True)
    return np.column_stack([rows, counts]).astype(int).tolist()


def columns(table: list[list[int]]) -> np.ndarray:
    """Return the columns `[K, items]`, which `tally` counted."""
    *rows, counts = np.array(table).T
    return np.repeat(np.stack(rows), counts, axis=1)


def points_lost(table: list[list[int]]) -> Estimate:
    """Return how many points the second model loses to the first.

    A score is the sum of one number over the sum of another, such as hits over images,
    or intersections over unions. The interval is 95 % of 2,000 resamplings of the items,
    the same for both models.

    Args:
        table: of the columns hits and totals before, hits and totals after.
    """
    items = columns(table)  # [4, items]
    count = items.shape[1]
    picks = np.random.default_rng(0).integers(0, count, (SAMPLES, count))
    samples = np.stack([each[picks].sum(1) for each in items])  # [4, SAMPLES]
    draws = _lost(samples)
    return resampled(float(_lost(items.sum(1))), [*draws], count)


def _lost(sums: np.ndarray) -> np.ndarray:
    return 100 * (sums[0] / sums[1] - sums[2] / sums[3])


def in_words(table: list[list[int]]) -> str:
    """Return how many images got worse or better, and the points that one is worth."""
    hits, totals, after, totals_after = columns(table)
    change = after * totals - hits * totals_after  # the sign is that of the difference
    worse, better, n = int((change < 0).sum()), int((change > 0).sum()), len(change)
    words = f"of {n:,} images {worse} do worse and {better} better"
    return words + (f", one is {100 / n:.2g} points" if (totals == 1).all() else "")
