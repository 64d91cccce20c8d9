"""A value with its interval: every way that the benchmarks' rows use.

Each returns an `Estimate`, whose fields are fields of a row: `Row(..., **vars(estimate))`.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from deepseek_learn import measure


@dataclass(frozen=True)
class Estimate:
    """A value, the bounds of its interval, what they are, and the number of values."""

    measured: float
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    n: int | None = None

    def times(self, factor: float) -> "Estimate":
        """The same in another unit; a negative factor turns the interval around."""
        low, high = (b if b is None else factor * b for b in (self.low, self.high))
        if factor < 0:
            low, high = high, low
        return replace(self, measured=factor * self.measured, low=low, high=high)


def quartiles(values: Sequence[float], method: str = "exclusive") -> Estimate:
    """The median and the quartiles.

    Args:
        method: of `statistics.quantiles`: "exclusive" takes the values for a sample of a
            wider population, "inclusive" for all there are.
    """
    low, median, high = statistics.quantiles(values, n=4, method=method)
    return Estimate(median, low, high, "quartiles", len(values))


def spread(
    values: Sequence[float],
    kind: str = "range",
    center: Callable[[Sequence[float]], float] = statistics.median,
) -> Estimate:
    """The median, or another center, with the smallest and the largest value."""
    return Estimate(center(values), min(values), max(values), kind, len(values))


def student(values: Sequence[float], kind: str = "95 % t") -> Estimate:
    """The mean with Student's 95 % interval; of a single value no interval is known."""
    mean, n = statistics.mean(values), len(values)
    if n < 2:
        return Estimate(mean, mean, mean, kind, n)
    half = half_width(statistics.stdev(values) / n**0.5, n)
    return Estimate(mean, mean - half, mean + half, kind, n)


def half_width(error: float, n: int) -> float:
    """Half of Student's 95 % interval for a standard error from `n` values."""
    from scipy import stats

    return float(stats.t.ppf(0.975, n - 1)) * error


def share(hits: int, n: int) -> Estimate:
    """A proportion of n with Wilson's 95 % interval."""
    rest = measure.measured_error(n - hits, n)
    return Estimate(hits / n, 1 - rest.high, 1 - rest.low, "95 % Wilson", n)


def bootstrap_of(
    statistic: Callable[[np.ndarray], float],
    groups: int | Sequence | np.ndarray,
    kind: str = "95 % bootstrap",
    n: int | None = None,
    **options,
) -> Estimate:
    """A statistic of positions with its 95 % percentile interval.

    Args:
        groups, options: of `measure.bootstrap`.
        n: number of values, where it is not that of the positions.
    """
    drawn = measure.bootstrap(statistic, groups, **options)
    return Estimate(drawn.value, drawn.low, drawn.high, kind, n or drawn.n)


def bootstrap(
    values: Sequence[float], statistic: Callable = np.mean, seed: int = 0
) -> Estimate:
    """A statistic with its 95 % percentile interval over 9,999 resamplings."""
    array = np.array(values)
    return bootstrap_of(
        lambda rows: statistic(array[rows]), len(array), repeats=9999, seed=seed
    )


def ratio_of_means(
    ours: Sequence[float], peer: Sequence[float], samples: int = 2000
) -> Estimate:
    """The mean of ours over the peer's, item by item on the same inputs.

    The interval is the 95 % bootstrap's; a sample has the same items of both.
    """
    a, b = np.array(ours), np.array(peer)
    return bootstrap_of(lambda i: a[i].mean() / b[i].mean(), len(a), repeats=samples)


def resampled(measured: float, draws: Sequence[float], n: int) -> Estimate:
    """A value with the 95 % percentile interval of its bootstrap samples.

    Args:
        draws: the value of each bootstrap sample.
        n: number of values that were resampled.
    """
    low, high = np.quantile(draws, (0.025, 0.975))
    return Estimate(measured, float(low), float(high), "95 % bootstrap", n)
