r"""Balanced accuracy, its prediction interval, and the baseline classifier.

The balanced accuracy is the mean recall over the classes, so that always predicting the
most frequent class does not raise it.

The prediction interval covers the score of one further run. With the mean :math:`\bar s`
and the standard deviation :math:`\sigma` of the scores of n runs, it is
:math:`\bar s \pm t\,\sigma \sqrt{1+1/n}`, where t is the two-sided 99 % quantile of
Student's distribution with n - 1 degrees of freedom. If scores are normal, a further run
of an honest project falls below it once in 200 times. If all runs agree by chance,
:math:`\sigma` is the binomial standard deviation for the number of test items.
"""

import math
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .tasks import Draw

# Student's t: (two-sided 99 %, one-sided 95 %) by degrees of freedom
STUDENT = {2: (9.925, 2.920), 3: (5.841, 2.353), 4: (4.604, 2.132), 5: (4.032, 2.015)}
REACH = 0.25  # how far an interval may reach below its mean
LETTERS, BUCKETS = 3, 4096  # of the baseline for texts
BLOCK = 1 << 21  # features at a time: 16 MiB


@dataclass(frozen=True)
class Interval:
    """The mean score, and the 99 % prediction interval of a further run."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, scores: Sequence[float], tests: int) -> "Interval":
        """Return the interval for the scores of runs on about `tests` items each."""
        count, mean = len(scores), float(np.mean(scores))
        smoothed = (mean * tests + 1) / (tests + 2)
        least = math.sqrt(smoothed * (1 - smoothed) / tests)
        spread = max(float(np.std(scores, ddof=1)), least)
        reach = STUDENT[count - 1][0] * spread * math.sqrt(1 + 1 / count)
        return cls(mean, max(0.0, mean - reach), min(1.0, mean + reach))

    @property
    def is_wide(self) -> bool:
        """Whether the lower limit is so low that it says little about a further run."""
        return self.mean - self.low > REACH

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
    The features are computed in blocks: all of them at once could take gigabytes.
    """
    classes = np.unique(draw.y)
    center, scale = (0.0, 1.0) if isinstance(draw.x, list) else moments(draw.x)
    means = np.zeros((len(classes), features(draw.x[:1]).shape[1]))
    for at, x in blocks(draw.x):
        members = (draw.y[at] == classes[:, None]).astype(np.float64)
        means += members @ ((x - center) / scale)
    means /= (draw.y == classes[:, None]).sum(1, keepdims=True)
    lengths = np.einsum("ck,ck->c", means, means)
    nearest = [
        (lengths - 2 * ((x - center) / scale) @ means.T).argmin(1)
        for _, x in blocks(draw.test_x)
    ]
    chance = 1 / len(np.unique(draw.test_y))
    return max(chance, score(classes[np.concatenate(nearest)], draw.test_y))


def moments(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the deviation of each feature of an array."""
    mean = sum(x.sum(0) for _, x in blocks(inputs)) / len(inputs)
    variance = sum(((x - mean) ** 2).sum(0) for _, x in blocks(inputs)) / len(inputs)
    return mean, np.sqrt(variance) + 1e-6


def blocks(inputs: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the features of some inputs after the other, and which inputs they are."""
    size = BUCKETS if isinstance(inputs, list) else max(1, inputs[0].size)
    rows = max(1, BLOCK // size)
    for start in range(0, len(inputs), rows):
        at = slice(start, start + rows)
        yield at, features(inputs[at])


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
