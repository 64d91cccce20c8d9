"""A measured value with its uncertainty and its source.

Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist, median
from typing import Any

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """A value with a 95% interval that can be compared and scaled like a number.

    Attributes:
        value: the number itself, which `float(measured)` also returns.
        low, high: the ends of the 95% interval, or None if the interval is unknown.
        unit: the unit, such as "ms" or "J".
        source: how the value was measured, such as "rapl" or "cpu, 1 thread".

    Raises:
        ValueError: if `value` lies outside the interval, or if only one of `low` and
            `high` is given.

    >>> from deepseek_learn.measure import Measured
    >>> Measured(3.1, 2.9, 3.4, "ms") < 4, str(Measured(3.1, 2.9, 3.4, "ms"))
    (True, '3.1 ms (2.9–3.4)')
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):  # convert NumPy and PyTorch scalars
            number = getattr(self, name)
            if number is not None:
                object.__setattr__(self, name, float(number))
        if self.low is None and self.high is None:
            return
        if self.low is None or self.high is None:
            raise ValueError(
                f"low and high must be given together; got {self.low} and {self.high}."
            )
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"value must lie between low and high; got {self.value} for an "
                f"interval from {self.low} to {self.high}."
            )

    def __float__(self) -> float:
        return self.value

    def __lt__(self, other: Any) -> bool:
        return self.value < float(other)

    def __le__(self, other: Any) -> bool:
        return self.value <= float(other)

    def __gt__(self, other: Any) -> bool:
        return self.value > float(other)

    def __ge__(self, other: Any) -> bool:
        return self.value >= float(other)

    def __mul__(self, factor: float) -> "Measured":
        """Multiply the value and its interval by a nonnegative factor."""
        if not float(factor) >= 0:
            raise ValueError(f"factor must not be negative; got {factor!r}.")
        low, high = (None if x is None else x * factor for x in (self.low, self.high))
        return Measured(self.value * factor, low, high, self.unit, self.source)

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Measured":
        return self * (1 / divisor)

    def __str__(self) -> str:
        label = f"{self.value:.4g} {self.unit}".rstrip()
        if self.low is None:
            return label
        return f"{label} ({self.low:.4g}–{self.high:.4g})"

    def to_dict(self) -> dict[str, Any]:
        """Return all fields that are set, as a JSON-serializable dict."""
        return {k: v for k, v in asdict(self).items() if v not in (None, "")}


def measured_error(wrong: int, n: int) -> Measured:
    """Return the error rate of a classifier with its 95% Wilson interval.

    For p = wrong / n, the center of the interval is (p + z²/2n) / (1 + z²/n), and its
    half width is z sqrt(p(1 - p)/n + z²/4n²) / (1 + z²/n). Unlike the usual interval
    p ± z sqrt(p(1 - p)/n), it always lies within 0..1 and is accurate for small counts
    (Wilson 1927, "Probable inference, the law of succession, and statistical
    inference", JASA 22).

    Args:
        wrong: the number of misclassified samples.
        n: the number of samples.

    Raises:
        ValueError: if `wrong` is not between 0 and `n`, or if `n` is less than 1.

    >>> from deepseek_learn import measure
    >>> error = measure.measured_error(wrong=3, n=100)
    >>> round(error.value, 3), round(error.low, 3), round(error.high, 3)
    (0.03, 0.01, 0.085)
    """
    if not 0 <= wrong <= n or n < 1:
        raise ValueError(
            f"wrong must be between 0 and n, and n must be at least 1; got {wrong} and "
            f"{n}."
        )
    z, p = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), wrong / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # if wrong is 0 or n, one end is exactly p, but rounding can shift it by an ulp
    low, high = min(max(center - half, 0), p), max(min(center + half, 1), p)
    return Measured(p, low, high, source=f"{n} samples")


def measured_median(
    values: Sequence[float], unit: str = "", source: str = ""
) -> Measured:
    """Return the median of the values with a distribution-free 95% interval.

    The interval is [x_(k), x_(n+1-k)], where x_(i) is the i-th smallest of the n values
    and k is the largest integer with P(Binomial(n, 1/2) < k) <= 2.5%. There is no
    interval for five or fewer values.

    Raises:
        ValueError: if `values` is empty.

    >>> from deepseek_learn import measure
    >>> measure.measured_median([3.0, 1.0, 2.0, 2.5, 1.5, 2.2, 2.1], "ms").value
    2.1
    """
    if not len(values):
        raise ValueError("values must contain at least one number; got none.")
    ranked, k = sorted(map(float, values)), 0
    tail = 0.5 ** len(ranked)
    below = tail
    while below <= (1 - CONFIDENCE) / 2:
        tail *= (len(ranked) - k) / (k + 1)
        k, below = k + 1, below + tail
    low, high = (ranked[k - 1], ranked[-k]) if k else (None, None)
    return Measured(median(ranked), low, high, unit, source)


def measured_ratio(
    numerators: Sequence[float], denominators: Sequence[float], source: str = ""
) -> Measured:
    """Return the median of the elementwise ratios, with its 95% interval.

    Args:
        numerators, denominators: the readings of the two sides, one per round.

    Raises:
        ValueError: if the two sequences are empty or differ in length.

    >>> from deepseek_learn.measure import measured_ratio
    >>> measured_ratio([2.0, 2.2, 2.1], [1.0, 1.1, 1.0]).value
    2.0
    """
    pairs = zip(numerators, denominators, strict=True)
    return measured_median([a / b for a, b in pairs], source=source)
