"""A number with its uncertainty and its source.

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
    """A measured value that can be used wherever a number can.

    Attributes:
        value: the number itself, also returned by `float(measured)`.
        low, high: its 95 % interval; None if unknown.
        unit: the unit, such as "ms" or "J".
        source: how it was measured, such as "rapl" or "cpu, 1 thread".

    Raises:
        ValueError: if the value lies outside its interval, or if one end is missing.

    >>> Measured(3.1, 2.9, 3.4, "ms") < 4, str(Measured(3.1, 2.9, 3.4, "ms"))
    (True, '3.1 ms (2.9–3.4)')
    """

    value: float
    low: float | None = None
    high: float | None = None
    unit: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        for name in ("value", "low", "high"):  # also from NumPy and PyTorch
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
                f"value must lie between low and high; got {self.value} with "
                f"{self.low} and {self.high}."
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
        """Multiply the value and its interval by a nonnegative number."""
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
        """Return the known fields, which JSON can represent."""
        return {k: v for k, v in asdict(self).items() if v not in (None, "")}


def measured_error(wrong: int, n: int) -> Measured:
    """Return a classifier's error rate on `n` samples, with Wilson's 95 % interval.

    center = (p + z²/2n) / (1 + z²/n), half width = z sqrt(p(1 - p)/n + z²/4n²) /
    (1 + z²/n), p = wrong / n. The interval stays inside 0..1 and is correct for small
    counts, where p ± z sqrt(p(1 - p)/n) is not (Wilson 1927, "Probable inference, the
    law of succession, and statistical inference", JASA 22).

    Raises:
        ValueError: if `wrong` is not between 0 and `n`, or `n` is 0.
    """
    if not 0 <= wrong <= n or n < 1:
        raise ValueError(
            f"wrong must be between 0 and n, and n at least 1; got {wrong} and {n}."
        )
    z, p = NormalDist().inv_cdf((1 + CONFIDENCE) / 2), wrong / n
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # at 0 and n the interval ends at p exactly; rounding may miss it by an ulp
    low, high = min(max(center - half, 0), p), max(min(center + half, 1), p)
    return Measured(p, low, high, source=f"{n} samples")


def measured_median(
    values: Sequence[float], unit: str = "", source: str = ""
) -> Measured:
    """Return the median with a distribution-free 95 % interval.

    The interval is [x_(k), x_(n+1-k)], the order statistics with the largest k for
    which P(Binomial(n, 1/2) < k) <= 2.5 %. Five or fewer values have no interval.

    Raises:
        ValueError: if `values` is empty.
    """
    if not len(values):
        raise ValueError("values must hold at least one number; got none.")
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
    """Return the median of two sides' ratios, round by round, with its interval.

    Raises:
        ValueError: if the sides have different numbers of readings, or no readings.
    """
    pairs = zip(numerators, denominators, strict=True)
    return measured_median([a / b for a, b in pairs], source=source)
