"""The latency of a model, next to a baseline in the same process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from ..catalog import text
from ..report import Report
from .measured import Measured, measured_median

SAMPLE_S = 1e-3  # minimum duration of a sample: the clock's resolution is negligible


@dataclass(frozen=True)
class Latency(Report):
    """The latency of one call.

    Attributes:
        ms: median of one call of the model, in ms.
        baseline_ms: the same for the baseline, measured in alternation; None without one.
        ratio: the model's time over the baseline's, median of the ratios per
            round: below 1 the model is faster.
        samples_ms: every sample, "model" and "baseline", by round.
    """

    ms: Measured
    baseline_ms: Measured | None
    ratio: Measured | None
    samples_ms: dict[str, tuple[float, ...]]

    def to_frame(self) -> pd.DataFrame:
        """One row each for model, baseline and ratio: value, low, high, unit, source."""
        rows = {"model": self.ms, "baseline": self.baseline_ms, "ratio": self.ratio}
        fields = {name: vars(m) for name, m in rows.items() if m is not None}
        return pd.DataFrame.from_dict(fields, orient="index")

    def plot(self):
        """Every sample, model next to baseline (plotly)."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name, samples in self.samples_ms.items():
            label = text(f"measure.timed_{name}")
            figure.add_box(y=samples, name=label, boxpoints="all", showlegend=False)
        title = text("measure.call_axis", source=self.ms.source)
        figure.update_yaxes(title=title, rangemode="tozero")
        return figure.update_layout(template="plotly_white")

    def why(self) -> str:
        if self.ratio is None:
            return text("measure.latency", ms=self.ms, source=self.ms.source)
        verdict = "slower" if self.ratio.low > 1 else "even"
        verdict = "faster" if self.ratio.high < 1 else verdict
        facts = {"ms": self.ms, "baseline": self.baseline_ms, "ratio": self.ratio}
        return text(f"measure.latency_{verdict}", source=self.ms.source, **facts)


def latency(
    model: Callable,
    example: Tensor | tuple,
    baseline: Callable | None = None,
    rounds: int = 30,
    warmup: int = 3,
) -> Latency:
    """Time one call of `model`, in alternation with `baseline`.

    In each round both are timed once, in alternating order, so that whatever slows the
    machine slows both: trust the ratio, not the milliseconds. Modules are measured in
    evaluation mode, without gradients, and their mode is restored afterwards.

    Args:
        model, baseline: modules, or any callables.
        example: the input, or a tuple of inputs. On a GPU, each sample is synchronized.
        rounds: samples of each, at least 6 (fewer have no 95 % interval).

    Raises:
        ValueError: for fewer than 6 rounds or a negative `warmup`.
    """
    if rounds < 6 or warmup < 0:
        raise ValueError(
            f"rounds must be at least 6 and warmup not negative; got {rounds} and "
            f"{warmup}."
        )
    inputs = example if isinstance(example, tuple) else (example,)
    callables = {"model": model} | ({"baseline": baseline} if baseline else {})
    modes = {m: m.training for m in callables.values() if isinstance(m, nn.Module)}
    try:
        for module in modes:
            module.eval()
        with torch.inference_mode():
            samples = _rounds(callables, inputs, rounds, warmup)
    finally:
        for module, training in modes.items():
            module.train(training)
    return _summary(samples, _place(inputs))


def _rounds(callables: dict[str, Callable], inputs: tuple, rounds: int, warmup: int):
    calls = {}
    for name, call in callables.items():
        for _ in range(warmup):
            call(*inputs)
        call_seconds = _sample(call, inputs, 1)
        calls[name] = max(1, round(SAMPLE_S / max(call_seconds, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in callables}
    for i in range(rounds):
        for name in list(callables)[:: 1 if i % 2 else -1]:
            seconds = _sample(callables[name], inputs, calls[name])
            samples[name].append(1e3 * seconds)
    return samples


def _sample(call: Callable, inputs: tuple, calls: int) -> float:
    """Seconds per call, averaged over `calls` calls."""
    _synchronize(inputs)
    start = time.perf_counter()
    for _ in range(calls):
        call(*inputs)
    _synchronize(inputs)
    return (time.perf_counter() - start) / calls


def _synchronize(inputs: tuple) -> None:
    for device in {x.device for x in inputs if isinstance(x, Tensor)}:
        if device.type != "cpu":
            torch.accelerator.synchronize(device)


def _place(inputs: tuple) -> str:
    types: set[Any] = {x.device.type for x in inputs if isinstance(x, Tensor)}
    if types - {"cpu"}:
        return ", ".join(sorted(types - {"cpu"}))
    threads = torch.get_num_threads()
    return f"cpu, {threads} thread{'s' * (threads > 1)}"


def _summary(samples: dict[str, list[float]], source: str) -> Latency:
    samples_ms = {name: tuple(values) for name, values in samples.items()}
    ms = measured_median(samples["model"], "ms", source)
    if "baseline" not in samples:
        return Latency(ms, None, None, samples_ms)
    pairs = zip(samples["model"], samples["baseline"], strict=True)
    ratio = measured_median([a / b for a, b in pairs], source=source)
    return Latency(
        ms, measured_median(samples["baseline"], "ms", source), ratio, samples_ms
    )
