"""Measure latencies with the protocol shared by the profiler, the tuner and the wizard.

1. All calls are timed in the same process and in alternation, so a slowdown of the
   machine affects all of them. Ratios are therefore more reliable than absolute times.
2. Sampling starts after a few warm-up calls. Each sample lasts at least 1 ms and ends
   when the GPU has finished its work.
3. A latency is the median of its samples, with a 95% interval. Ratios are computed
   within each round and then summarized by their median and interval as well.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..report import Report
from ..rng import isolate_rng
from .clock import Devices, gpus_in_use, in_turn, sampler, source_of
from .measured import Measured, measured_median, measured_ratio

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROUNDS, WARMUP = 30, 3


@dataclass(frozen=True)
class Latencies(Report):
    """The latencies of several calls that were timed in alternation.

    Attributes:
        ms: the median time per call in ms, keyed by name.
        ratios: the time of each call divided by the time of the first call (the median
            over the rounds), keyed by name. A ratio below 1 means that the call is
            faster than the first one. The first call itself has no ratio.
        samples_ms: the samples of each call in ms, one per round, keyed by name.

    >>> from deepseek_learn import measure
    >>> calls = {"sum": lambda: sum(range(500)), "max": lambda: max(range(9))}
    >>> result = measure.latencies(calls)
    >>> result.ms["sum"].value > 0, list(result.ratios)
    (True, ['max'])
    """

    ms: dict[str, Measured]
    ratios: dict[str, Measured]
    samples_ms: dict[str, tuple[float, ...]]

    @property
    def source(self) -> str:
        """The device on which the calls ran, such as "cuda" or "cpu, 1 thread"."""
        return next(iter(self.ms.values())).source

    def __getitem__(self, name: str) -> Measured:
        """Return the median time of the call `name`, in ms."""
        return self.ms[name]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per call with its latency, its ratio and their intervals.

        The columns are ms, low, high, ratio, ratio_low and ratio_high.
        """
        none = Measured(float("nan"))
        rows = {}
        for name, ms in self.ms.items():
            ratio = self.ratios.get(name, none)
            rows[name] = [ms.value, ms.low, ms.high, ratio.value, ratio.low, ratio.high]
        columns = ["ms", "low", "high", "ratio", "ratio_low", "ratio_high"]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return frame.astype(float)

    def plot(self) -> "go.Figure":
        """Draw a box plot of the samples of each call (plotly)."""
        return _boxes(self.samples_ms, self.source)

    def why(self) -> str:
        first = next(iter(self.ms))
        ms, source = self[first], self.source
        sentences = [text("measure.side", name=first, ms=ms, source=source)]
        for name, ratio in self.ratios.items():
            facts: dict[str, Any] = {"name": name, "first": first, "ratio": ratio}
            facts["ms"] = self[name]
            sentences.append(text(f"measure.side_{_verdict(ratio)}", **facts))
        return " ".join(sentences)


def latencies(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    warmup: int = WARMUP,
    devices: Devices | None = None,
) -> Latencies:
    """Time several calls in alternation and compare them with the first one.

    The global random number generators are restored afterwards.

    Args:
        calls: the functions to time, keyed by name. They are called without arguments.
        rounds: the number of samples per call. At least 6 are required for a 95%
            interval.
        warmup: the number of warm-up calls before sampling starts.
        devices: the devices on which the calls run. GPUs are synchronized around each
            sample. By default, this is PyTorch's current GPU if this process uses one.

    Raises:
        ValueError: if `calls` is empty, `rounds` is less than 6, or `warmup` is
            negative.

    >>> from deepseek_learn import measure
    >>> calls = {"sum": lambda: sum(range(500)), "max": lambda: max(range(9))}
    >>> result = measure.latencies(calls)
    >>> result.ratios["max"].value < 1  # compared with the first one
    True
    """
    if not calls:
        raise ValueError("calls must contain at least one call; got none.")
    if rounds < 6 or warmup < 0:
        raise ValueError(
            f"rounds must be at least 6 and warmup must not be negative; got {rounds} "
            f"and {warmup}."
        )
    devices = gpus_in_use() if devices is None else devices
    with isolate_rng():  # how often the calls draw depends on the clock
        samplers = {n: sampler(call, warmup, devices) for n, call in calls.items()}
        samples_ms = in_turn(samplers, rounds)
    return compare(samples_ms, source_of(devices))


def compare(samples_ms: Mapping[str, Sequence[float]], source: str) -> Latencies:
    """Compute latencies and ratios from existing samples.

    Args:
        samples_ms: the samples of each call in ms, one per round, keyed by name.
        source: a description of the device on which the calls ran.
    """
    first, *others = samples_ms
    return Latencies(
        {name: measured_median(ms, "ms", source) for name, ms in samples_ms.items()},
        {
            name: measured_ratio(samples_ms[name], samples_ms[first], source)
            for name in others
        },
        {name: tuple(ms) for name, ms in samples_ms.items()},
    )


@dataclass(frozen=True)
class Latency(Report):
    """The latency of a model, optionally compared with a baseline.

    Attributes:
        ms: the median time per call of the model, in ms.
        baseline_ms: the median time per call of the baseline, in ms; None if there is
            no baseline.
        ratio: the model's time divided by the baseline's time (the median over the
            rounds), or None if there is no baseline. A ratio below 1 means that the
            model is faster.
        samples_ms: the samples in ms, one per round, keyed by "model" and "baseline".

    >>> import torch
    >>> from deepseek_learn import tuner
    >>> result = tuner.latency(torch.nn.Linear(64, 8), torch.rand(8, 64), rounds=6)
    >>> result.ms.value > 0, result.ratio
    (True, None)
    """

    ms: Measured
    baseline_ms: Measured | None
    ratio: Measured | None
    samples_ms: dict[str, tuple[float, ...]]

    def to_frame(self) -> pd.DataFrame:
        """Return a table with one row each for the model, the baseline and the ratio.

        The columns are value, low, high, unit and source. Without a baseline, the table
        contains only the model.
        """
        rows = {"model": self.ms, "baseline": self.baseline_ms, "ratio": self.ratio}
        fields = {name: vars(m) for name, m in rows.items() if m is not None}
        return pd.DataFrame.from_dict(fields, orient="index")

    def plot(self) -> "go.Figure":
        """Plot every timing sample, with the model next to the baseline (plotly)."""
        samples = {text(f"measure.timed_{k}"): v for k, v in self.samples_ms.items()}
        return _boxes(samples, self.ms.source)

    def why(self) -> str:
        if self.ratio is None:
            return text("measure.latency", ms=self.ms, source=self.ms.source)
        verdict = _verdict(self.ratio)
        facts: dict[str, Any] = {"ms": self.ms, "baseline": self.baseline_ms}
        facts["ratio"] = self.ratio
        return text(f"measure.latency_{verdict}", source=self.ms.source, **facts)


def latency(
    model: Callable[..., Any],
    example: Tensor | tuple[Any, ...],
    baseline: Callable[..., Any] | None = None,
    rounds: int = ROUNDS,
    warmup: int = WARMUP,
) -> Latency:
    """Measure the latency of a model, in alternation with a baseline if there is one.

    Modules are timed in evaluation mode and without gradients. Their original mode is
    restored afterwards.

    Args:
        model, baseline: a module or any other callable.
        example: the input, or a tuple of inputs. If an input is on a GPU, that GPU is
            synchronized around each sample.
        rounds: the number of samples per callable. At least 6 are required for a
            95% interval.
        warmup: the number of warm-up calls before sampling starts.

    Raises:
        ValueError: if `rounds` is less than 6 or `warmup` is negative.

    >>> import torch
    >>> from deepseek_learn import tuner
    >>> x = torch.rand(8, 512)
    >>> small, large = torch.nn.Linear(512, 8), torch.nn.Linear(512, 8192)
    >>> tuner.latency(small, x, baseline=large, rounds=6).ratio.value < 1
    True
    """
    inputs = example if isinstance(example, tuple) else (example,)
    sides = (
        {"model": model} if baseline is None else {"baseline": baseline, "model": model}
    )
    calls = {name: functools.partial(side, *inputs) for name, side in sides.items()}
    devices = {x.device for x in inputs if isinstance(x, Tensor)}
    modes = {m: m.training for m in sides.values() if isinstance(m, nn.Module)}
    try:
        for module in modes:
            module.eval()
        with torch.inference_mode():
            both = latencies(calls, rounds, warmup, devices)
    finally:
        for module, training in modes.items():
            module.train(training)
    return Latency(
        both["model"],
        both.ms.get("baseline"),
        both.ratios.get("model"),
        dict(reversed(both.samples_ms.items())),
    )


def _verdict(ratio: Measured) -> str:
    """Return "slower", "faster" or "even", based on the interval for the ratio."""
    if ratio.low is not None and ratio.low > 1:
        return "slower"
    return "faster" if ratio.high is not None and ratio.high < 1 else "even"


def _boxes(samples_ms: Mapping[str, Sequence[float]], source: str) -> "go.Figure":
    import plotly.graph_objects as go

    figure = go.Figure()
    for name, samples in samples_ms.items():
        figure.add_box(y=samples, name=name, boxpoints="all", showlegend=False)
    title = text("measure.call_axis", source=source)
    figure.update_yaxes(title=title, rangemode="tozero")
    return figure.update_layout(template="plotly_white")
