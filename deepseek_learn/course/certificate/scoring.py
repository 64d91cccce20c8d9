r"""How good predictions are, and where the next run's score will lie.

The score is the balanced accuracy, the mean over the classes of the part of a class
that is recognized: it cannot be raised by always naming the most frequent class.

The interval is one for a further run: with the mean :math:`\bar s` and the deviation
:math:`\sigma` of the scores of n runs, it is :math:`\bar s \pm t\,\sigma \sqrt{1+1/n}`,
where t belongs to 99 % of Student's distribution with n - 1 degrees of freedom. An honest
project's new run falls below it once in 200 times, as far as scores are normal. Where all
runs happen to agree, :math:`\sigma` is at least what the number of tests leaves open.
"""

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .tasks import Draw

# Student's t: (two-sided 99 %, one-sided 95 %) by degrees of freedom
STUDENT = {2: (9.925, 2.920), 3: (5.841, 2.353), 4: (4.604, 2.132), 5: (4.032, 2.015)}
LETTERS, BUCKETS = 3, 4096  # of the baseline for texts


@dataclass(frozen=True)
class Interval:
    """The mean of the scores, and where a further run's score will lie."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, scores: Sequence[float], tests: int) -> "Interval":
        """Return the interval of some runs' scores, each on about `tests` items."""
        count, mean = len(scores), float(np.mean(scores))
        smoothed = (mean * tests + 1) / (tests + 2)
        least = math.sqrt(smoothed * (1 - smoothed) / tests)
        spread = max(float(np.std(scores, ddof=1)), least)
        reach = STUDENT[count - 1][0] * spread * math.sqrt(1 + 1 / count)
        return cls(mean, max(0.0, mean - reach), min(1.0, mean + reach))

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def score(predictions: Sequence[int], truth: np.ndarray) -> float:
    """Return the balanced accuracy, from 0 to 1."""
    hits = np.asarray(predictions) == truth
    return float(np.mean([hits[truth == label].mean() for label in np.unique(truth)]))


def is_better(scores: Sequence[float], baselines: Sequence[float]) -> bool:
    """Return whether scores are above the baselines of the same draws.

    They are if the lower end of the one-sided 95 % interval of the mean difference is
    above 0 (paired t-test).
    """
    gain = np.subtract(scores, baselines)
    reach = STUDENT[len(gain) - 1][1] * gain.std(ddof=1) / math.sqrt(len(gain))
    return bool(gain.mean() > reach)


def baseline(draw: Draw) -> float:
    """Return the score of the simplest classifier: the class with the nearest mean.

    Texts are counted by their letters in threes, scaled to unit length; arrays are
    standardized. It is never below chance, the score of always naming the same class.
    """
    x, test_x = features(draw.x), features(draw.test_x)
    if not isinstance(draw.x, list):
        center, scale = x.mean(0), x.std(0) + 1e-6
        x, test_x = (x - center) / scale, (test_x - center) / scale
    classes = np.unique(draw.y)
    means = np.stack([x[draw.y == label].mean(0) for label in classes])
    distances = (means**2).sum(1) - 2 * test_x @ means.T
    chance = 1 / len(np.unique(draw.test_y))
    return max(chance, score(classes[distances.argmin(1)], draw.test_y))


def features(inputs: Any) -> np.ndarray:
    """Return float64 features `[N, K]` of texts or of an array."""
    if not isinstance(inputs, list):
        return np.asarray(inputs, np.float64).reshape(len(inputs), -1)
    counts = np.zeros((len(inputs), BUCKETS))
    for row, text in enumerate(inputs):
        for start in range(max(1, len(text) - LETTERS + 1)):
            piece = text[start : start + LETTERS].encode()
            counts[row, zlib.crc32(piece) % BUCKETS] += 1
    counts = np.sqrt(counts)
    return counts / np.linalg.norm(counts, axis=1, keepdims=True).clip(1e-9)
