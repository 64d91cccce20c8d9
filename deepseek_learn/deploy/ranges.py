"""Which range the 256 steps of an activation cover: all of it, or less with finer steps.

A range [low, high] in 255 steps has the step s = (high - low) / 255. A wider one rounds
every value more coarsely, an error of s² / 12; a narrower one cuts off what lies outside.
A rule gets the histogram of what calibration saw and answers with the range.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..registry import Registry
from .hub import copy_of
from .runtimes import session

rules = Registry("rule for ranges")

BINS = 2048
PERCENTILE = 99.99  # of the values are inside, half of the others on each side
SHRINK = np.geomspace(1.0, 0.01, 100)  # of the full range, what `mse` tries


@dataclass
class Histogram:
    """How often the values of one tensor fell into each of `BINS` bins of its range."""

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
        # in float64: a float32 edge may fall beyond a value of the very end
        inside = np.clip(values.ravel().astype(np.float64), self.low, self.high)
        self.counts += np.histogram(inside, self.edges)[0]


def histograms(
    proto, batches: Iterable[dict], reach: dict[str, tuple[float, float]]
) -> dict[str, Histogram]:
    """Of every tensor in `reach`, over all batches.

    Args:
        batches: input name → array, as `quantize.feed` gives them.
        reach: tensor → smallest and largest value.
    """
    from onnx import ValueInfoProto

    watched = copy_of(proto)
    given = {port.name for port in proto.graph.input}
    already = {port.name for port in proto.graph.output}
    inner = [name for name in reach if name not in given | already]
    watched.graph.output.extend(ValueInfoProto(name=name) for name in inner)
    opened = session(watched)
    names = [port.name for port in opened.get_outputs()]
    found = {name: Histogram(*r, np.zeros(BINS, int)) for name, r in reach.items()}
    for batch in batches:
        values = dict(zip(names, opened.run(None, batch), strict=True)) | batch
        for name, histogram in found.items():
            if histogram.high > histogram.low:  # a constant has nothing to choose
                histogram.add(values[name])
    return found


@rules.register("minmax")
def minmax(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    """Everything that calibration saw."""
    return histogram.low, histogram.high


@rules.register("percentile")
def percentile(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    """All but the outermost 0.01 %: of |x| where z = 0, else half at each end."""
    outside = (1 - PERCENTILE / 100) * histogram.counts.sum()
    edges, counts = histogram.edges, histogram.counts
    if symmetric:
        far = np.maximum(np.abs(edges[1:]), np.abs(edges[:-1]))  # of each bin
        order = np.argsort(far)
        inside = np.cumsum(counts[order]) >= counts.sum() - outside
        limit = far[order][inside.argmax()]
        return max(histogram.low, -limit), min(histogram.high, limit)
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])
    low = edges[:-1][(below > outside / 2).argmax()]
    high = edges[1:][::-1][(above > outside / 2).argmax()]
    return low, high


@rules.register("mse")
def mse(histogram: Histogram, symmetric: bool) -> tuple[float, float]:
    """The least mean squared error of the values after rounding and cutting off.

    Tries to draw in both ends alike, then each alone; never worse than "minmax" on the
    values of the histogram. After Banner et al. 2019, arXiv 1810.05723, by search.
    """
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)

    def error(pair: tuple[float, float]) -> float:
        return rounding_error(histogram.centers, histogram.counts, pair, symmetric)

    best = min(((r * low, r * high) for r in SHRINK), key=error)
    if not symmetric:
        best = min([best, *((r * low, best[1]) for r in SHRINK)], key=error)
        best = min([best, *((best[0], r * high) for r in SHRINK)], key=error)
    return best


def rounding_error(
    values: np.ndarray,
    counts: np.ndarray,
    reach: tuple[float, float],
    symmetric: bool,
) -> float:
    """Mean of (x - s (q - z))² for 8-bit q whose range is `reach`, widened to hold 0."""
    low, high = min(reach[0], 0.0), max(reach[1], 0.0)
    if symmetric:
        high = max(-low, high)
        low = -high
    steps = 254 if symmetric else 255  # -127..127, or 0..255
    scale = (high - low) / steps or 1.0
    zero = np.round(-low / scale)
    codes = np.clip(np.round(values / scale) + zero, 0, steps)
    return float(np.average((scale * (codes - zero) - values) ** 2, weights=counts))
