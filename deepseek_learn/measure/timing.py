"""How long calls take: the protocol of the profiler, the tuner and the wizard.

1. All sides are timed in one process, in turn, so that whatever slows the machine slows
   every side. Trust the ratios, not the milliseconds.
2. A sample lasts 1 ms or more, comes after warm-up calls, and ends when the GPU is done.
3. A latency is the median of the samples with its 95 % interval; a ratio is computed
   within each round, and then its median and interval.
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
from .clock import Devices, gpus_in_use, in_turn, sampler, source_of
from .measured import Measured, measured_median, measured_ratio

if TYPE_CHECKING:
    import plotly.graph_objects as go

ROUNDS, WARMUP = 30, 3


@dataclass(frozen=True)
class Latencies(Report):
    """The latencies of several calls that were timed in turn.

    Attributes:
        ms: name → median time of one call, in ms.
        ratios: name → its time divided by that of the first call (the median over the
            rounds); below 1, it is faster. The first call has no ratio.
        samples_ms: name → every sample, by round.
    """

    ms: dict[str, Measured]
    ratios: dict[str, Measured]
    samples_ms: dict[str, tuple[float, ...]]

    @property
    def source(self) -> str:
        """Where the calls ran, such as "cpu, 1 thread"."""
        return next(iter(self.ms.values())).source

    def __getitem__(self, name: str) -> Measured:
        """Return the latency of one call, in ms."""
        return self.ms[name]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per call: ms, low, high; ratio, ratio_low, ratio_high."""
        none = Measured(float("nan"))
        rows = {}
        for name, ms in self.ms.items():
            ratio = self.ratios.get(name, none)
            rows[name] = [ms.value, ms.low, ms.high, ratio.value, ratio.low, ratio.high]
        columns = ["ms", "low", "high", "ratio", "ratio_low", "ratio_high"]
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
        return frame.astype(float)

    def plot(self) -> "go.Figure":
        """Plot every sample of each call (plotly)."""
        return _boxes(self.samples_ms, self.source)

    def why(self) -> str:
        first = next(iter(self.ms))
        ms, source = self[first], self.source
        sentences = [text("measure.side", name=first, ms=ms, source=source)]
        for name, ratio in self.ratios.items():
            facts = {"name": name, "first": first, "ms": self[name], "ratio": ratio}
            sentences.append(text(f"measure.side_{_verdict(ratio)}", **facts))
        return " ".join(sentences)


def latencies(
    calls: Mapping[str, Callable[[], object]],
    rounds: int = ROUNDS,
    warmup: int = WARMUP,
    devices: Devices | None = None,
) -> Latencies:
    """Time any number of calls in turn; the ratios are relative to the first one.

    Args:
        calls: name → a function without arguments.
        rounds: number of samples of each, at least 6 (fewer have no 95 % interval).
        devices: the devices on which the calls run; samples wait for the GPUs among
            them. By default, this is PyTorch's current GPU if this process uses one.

    Raises:
        ValueError: if there is no call, `rounds` is below 6, or `warmup` is negative.

    >>> latencies({"conv": lambda: conv(x), "linear": lambda: linear(x)})  # doctest: +SKIP
    """
    if not calls:
        raise ValueError("calls must hold at least one call; got none.")
    if rounds < 6 or warmup < 0:
        raise ValueError(
            f"rounds must be at least 6 and warmup not negative; got {rounds} and "
            f"{warmup}."
        )
    devices = gpus_in_use() if devices is None else devices
    samplers = {name: sampler(call, warmup, devices) for name, call in calls.items()}
    return compare(in_turn(samplers, rounds), source_of(devices))


def compare(samples_ms: Mapping[str, Sequence[float]], source: str) -> Latencies:
    """Compute the latencies from samples in ms, name → one sample per round."""
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
    """The latency of one call.

    Attributes:
        ms: median time of one call of the model, in ms.
        baseline_ms: the same for the baseline, timed in turn; None without a baseline.
        ratio: the model's time divided by the baseline's (the median over the rounds);
            below 1, the model is faster.
        samples_ms: every sample of "model" and "baseline", by round.
    """

    ms: Measured
    baseline_ms: Measured | None
    ratio: Measured | None
    samples_ms: dict[str, tuple[float, ...]]

    def to_frame(self) -> pd.DataFrame:
        """Return a row each for model, baseline and ratio.

        The columns are value, low, high, unit and source.
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
    model: Callable,
    example: Tensor | tuple,
    baseline: Callable | None = None,
    rounds: int = ROUNDS,
    warmup: int = WARMUP,
) -> Latency:
    """Time one call of `model`, in turn with `baseline` if there is one.

    Modules are measured in evaluation mode, without gradients, and their mode is
    restored afterwards.

    Args:
        model, baseline: modules, or any callables.
        example: the input, or a tuple of inputs. On a GPU, each sample is synchronized.
        rounds: number of samples of each, at least 6 (fewer have no 95 % interval).

    Raises:
        ValueError: if `rounds` is below 6, or `warmup` is negative.
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
    """Tell whether the interval of the ratio lies above 1, below it, or around it."""
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
