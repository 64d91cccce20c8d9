"""Rules that select the range covered by the 256 levels of an activation.

A range [low, high] with 256 levels has the step size s = (high - low) / 255. A wider
range increases the mean squared rounding error of all values, s² / 12. A narrower range
clips more values. Each rule maps the histogram of the calibration values to a range.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..registry import Registry
from .export import copy_of
from .runtimes import session

if TYPE_CHECKING:
    import onnx

Rule = Callable[["Histogram", bool], tuple[float, float]]
rules: Registry[Rule] = Registry("rule for ranges")

BINS = 2048
PERCENTILE = 99.99  # percentage of values inside; half of the others on each side
SHRINK = np.geomspace(1.0, 0.01, 100)  # fractions of the full range that `mse` tries


@dataclass
class Histogram:
    """A histogram of the values of one tensor, with `BINS` bins over its range."""

    low: float
    high: float
    counts: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        return np.linspace(self.low, self.high, len(self.counts) + 1)

    @property
    def centers(self) -> np.ndarray:
        return (self.edges[1:] + self.edges[:-1]) / 2

    def add(self, values: np.ndarray) -> None:
        # use float64, because a float32 edge may exclude the extreme values
        inside = np.clip(values.ravel().astype(np.float64), self.low, self.high)
        self.counts += np.histogram(inside, self.edges)[0]


def histograms(
    proto: "onnx.ModelProto",
    batches: Iterable[dict],
    reach: dict[str, tuple[float, float]],
) -> dict[str, Histogram]:
    """Compute the histogram of every tensor in `reach` over all batches.

    Args:
        proto: the exported model.
        batches: dicts of named input arrays, as returned by `quantize.feed`.
        reach: a dict that maps the name of each tensor to its minimum and maximum.
    """
    from onnx import ValueInfoProto

    augmented = copy_of(proto)
    inputs = {port.name for port in proto.graph.input}
    outputs = {port.name for port in proto.graph.output}
    inner = [name for name in reach if name not in inputs | outputs]
    augmented.graph.output.extend(ValueInfoProto(name=name) for name in inner)
    ort = session(augmented)
    names = [port.name for port in ort.get_outputs()]
    results = {name: Histogram(*r, np.zeros(BINS, int)) for name, r in reach.items()}
    for batch in batches:
        values = dict(zip(names, ort.run(None, batch), strict=True)) | batch
        for name, histogram in results.items():
            # there is no choice for a constant tensor
            if histogram.high > histogram.low:
                histogram.add(values[name])
    return results


@rules.register("minmax")
def minmax(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    """Return the full range of the calibration values."""
    return histogram.low, histogram.high


@rules.register("percentile")
def percentile(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    """Return the range that excludes the outermost 0.01% of the values.

    If `symmetric` is True (z = 0), the values with the largest |x| are excluded.
    Otherwise, half of the excluded values are at each end.
    """
    outside = (1 - PERCENTILE / 100) * histogram.counts.sum()
    edges, counts = histogram.edges, histogram.counts
    if symmetric:
        # both ends are equal, so clip by |x|: take the bins from the center outwards
        magnitude = np.maximum(np.abs(edges[1:]), np.abs(edges[:-1]))  # of each bin
        order = np.argsort(magnitude)
        is_enough = np.cumsum(counts[order]) >= counts.sum() - outside
        limit = magnitude[order][is_enough.argmax()]
        return max(histogram.low, -limit), min(histogram.high, limit)
    # from each end, the first bin that can no longer be excluded
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    low = edges[:-1][(below > outside / 2).argmax()]
    high = edges[1:][::-1][(above > outside / 2).argmax()]
    return low, high


@rules.register("mse")
def mse(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    """Return the range that minimizes the mean squared error of rounding and clipping.

    The search shrinks both ends together. If `symmetric` is False, it then shrinks each
    end separately. The error on the histogram is never larger than with "minmax". We do
    not use the closed form of Banner et al. 2019, "Post training 4-bit quantization of
    convolution networks for rapid-deployment", arXiv 1810.05723.
    """
    # 0 must be a level: padding and ReLU produce it exactly, and often
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)

    def error(pair: tuple[float, float]) -> float:
        return rounding_error(histogram.centers, histogram.counts, pair, symmetric)

    # 1. Shrink both ends together. The factor 1 is among them, hence never worse.
    best = min(((r * low, r * high) for r in SHRINK), key=error)
    if not symmetric:
        # 2. Shrink each end alone, for activations with one long tail.
        best = min([best, *((r * low, best[1]) for r in SHRINK)], key=error)
        best = min([best, *((best[0], r * high) for r in SHRINK)], key=error)
    return best


def rounding_error(
    values: np.ndarray, counts: np.ndarray, reach: tuple[float, float], symmetric: bool
) -> float:
    """Return the mean of (x - s (q - z))² for 8-bit codes q over the range `reach`.

    If the range does not include 0, it is extended to 0.
    """
    low, high = min(reach[0], 0.0), max(reach[1], 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    steps = 254 if symmetric else 255  # -127..127, or 0..255
    scale = (high - low) / steps or 1.0  # any scale suits a tensor of zeros
    zero = np.round(-low / scale)  # an integer, so that 0 has an exact code
    codes = np.clip(np.round(values / scale) + zero, 0, steps)
    return float(np.average((scale * (codes - zero) - values) ** 2, weights=counts))
