"""The percentile bootstrap: how far off a figure could be, had others been measured.

Efron 1979, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7.
Items that depend on each other (the windows of a person, the lines of a document) are
resampled as one group: resampled one by one, they would make the interval too narrow.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np

Labels = Sequence[Any] | np.ndarray  # one per item, [N]
QUANTILES = (0.025, 0.975)  # of a 95 % interval


@dataclass(frozen=True)
class Bootstrap:
    """A statistic with its 95% percentile interval.

    Attributes:
        value: the statistic of the items themselves. The interval of a biased statistic
            need not contain it.
        low, high: the ends of the interval.
        n: the number of items.

    >>> from deepseek_learn.measure import Bootstrap
    >>> Bootstrap(0.91234, 0.88, 0.94, n=250).to_dict(digits=2)
    {'value': 0.91, 'low': 0.88, 'high': 0.94, 'n': 250}
    """

    value: float
    low: float
    high: float
    n: int

    def to_dict(self, digits: int = 4) -> dict[str, float]:
        """Return all fields, rounded, as a model's card stores them."""
        return {name: round(value, digits) for name, value in asdict(self).items()}


def bootstrap(
    statistic: Callable[[np.ndarray], float],
    groups: int | Labels,
    *,
    strata: Labels | None = None,
    repeats: int = 1000,
    seed: int = 0,
    method: str = "linear",
) -> Bootstrap:
    """Compute a statistic and its 95% percentile interval.

    The same seed draws the same samples, so that statistics can be compared.

    Args:
        statistic: a function of the items' positions, of shape `[M]`. A sample of which it
            is NaN is drawn again.
        groups: the number of items, if they are independent, or the group of each one.
        strata: the class of each item; every sample has as many groups of each class as
            the items have.
        repeats: the number of samples.
        method: how `np.quantile` interpolates between samples.

    Raises:
        ValueError: if there are no items, or `strata` has another length.

    >>> import numpy as np
    >>> from deepseek_learn import measure
    >>> hits = np.array([1, 1, 1, 0, 0, 1, 1, 1])
    >>> people = ["a", "a", "a", "b", "b", "c", "c", "c"]
    >>> accuracy = measure.bootstrap(lambda rows: hits[rows].mean(), people)
    >>> accuracy.value, accuracy.low, accuracy.high
    (0.75, 0.0, 1.0)
    """
    count = groups if isinstance(groups, int) else len(groups)
    value = float(statistic(np.arange(count)))
    if math.isnan(value):
        return Bootstrap(value, value, value, count)
    values = (float(statistic(rows)) for rows in samples(groups, strata, seed))
    draws = list(islice((v for v in values if not math.isnan(v)), repeats))
    low, high = np.quantile(draws, QUANTILES, method=method)  # type: ignore[call-overload]
    return Bootstrap(value, float(low), float(high), count)


def samples(
    groups: int | Labels, strata: Labels | None = None, seed: int = 0
) -> Iterator[np.ndarray]:
    """Yield bootstrap samples without end: positions of items, of shape `[M]`.

    See `bootstrap` for the arguments.
    """
    ids = np.arange(groups) if isinstance(groups, int) else np.asarray(groups)
    kinds = np.zeros(len(ids), int) if strata is None else np.asarray(strata)
    if not len(ids) or len(kinds) != len(ids):
        raise ValueError(
            "groups must name at least one item, and strata a class for each; got "
            f"{len(ids)} and {len(kinds)}."
        )
    pools = [_grouped(np.flatnonzero(kinds == kind), ids) for kind in np.unique(kinds)]
    rng = np.random.default_rng(seed)
    while True:
        yield np.concatenate([_drawn(rng, *pool) for pool in pools])


def _grouped(rows: np.ndarray, ids: np.ndarray) -> tuple[np.ndarray, ...]:
    """Return the rows group by group, [M], and the first place and the size of each."""
    _, group, sizes = np.unique(ids[rows], return_inverse=True, return_counts=True)
    return rows[np.argsort(group, kind="stable")], np.cumsum(sizes) - sizes, sizes


def _drawn(
    rng: np.random.Generator, rows: np.ndarray, starts: np.ndarray, sizes: np.ndarray
) -> np.ndarray:
    """Draw as many groups as there are, with replacement, and return their rows."""
    groups = rng.integers(len(sizes), size=len(sizes))
    ends = np.cumsum(sizes[groups])
    # the place of each row, from the start of its group
    shift = np.repeat(starts[groups] - (ends - sizes[groups]), sizes[groups])
    return rows[shift + np.arange(ends[-1])]
