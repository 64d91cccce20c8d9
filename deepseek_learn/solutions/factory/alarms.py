"""A threshold with a promised rate of false alarms, from good parts alone.

This is split conformal prediction. If the scores of n good parts and of the next good
part are exchangeable, the next score is equally likely to have any rank among the n + 1.
The k-th smallest score is therefore exceeded with a probability of at most
(n + 1 - k) / (n + 1). Vovk et al. 2005, "Algorithmic Learning in a Random World", Springer.
Lesson: `notebooks/practical/04_defects_from_good_parts.ipynb`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

LEAST_RATE = 1e-6  # needs a million good parts


@dataclass(frozen=True)
class Alarm:
    """A threshold above which a part is reported.

    Attributes:
        threshold: the score above which a part counts as defective.
        rate: the promised rate of false alarms, averaged over sets of good parts.
        low, high: the 95% interval of the actual rate with this one set of good parts.
        parts: the number of good parts from which the threshold was computed.
    """

    threshold: float
    rate: float
    low: float
    high: float
    parts: int


def alarm(scores: Sequence[float] | np.ndarray, rate: float = 0.05) -> Alarm:
    """Compute the threshold for a rate of false alarms.

    Args:
        scores: the scores of good parts that the detector was not trained on.
        rate: the highest acceptable rate of false alarms, between 0 and 1.

    Raises:
        ValueError: if `rate` is out of range, if a score is not finite, or if there are
            too few good parts to promise the rate (at least 1 / rate - 1 are needed).
    """
    values, least = np.sort(np.asarray(scores, dtype=float)), least_scores(rate)
    if not np.isfinite(values).all():
        raise ValueError("scores must be finite; got NaN or infinity.")
    count = len(values)
    k = math.ceil((count + 1) * (1 - rate) - 1e-9)  # the rank of the threshold
    if k > count:
        raise ValueError(
            f"A false-alarm rate of {rate:g} needs the scores of at least "
            f"{least} good parts; got {count}."
        )
    # Given the threshold, the rate follows a beta distribution with this mean.
    low, high = stats.beta.ppf((0.025, 0.975), count + 1 - k, k)
    return Alarm(float(values[k - 1]), rate, float(low), float(high), count)


def least_scores(rate: float) -> int:
    """Return how many scores of good parts are needed to promise a false-alarm rate.

    Raises:
        ValueError: if `rate` is out of range.
    """
    if not 0 < rate < 1:
        raise ValueError(f"rate must be between 0 and 1; got {rate:g}.")
    if rate < LEAST_RATE:
        raise ValueError(f"rate must be at least {LEAST_RATE:g}; got {rate:g}.")
    return math.ceil(1 / rate - 1 - 1e-9)
