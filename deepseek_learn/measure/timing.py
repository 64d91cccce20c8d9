"""How long a model takes, beside another one in the same process."""

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

SAMPLE_S = 1e-3  # a sample lasts at least as long: the clock is then no matter


@dataclass(frozen=True)
class Latency(Report):
    """How long one call takes.

    Attributes:
        ms: median of one call of the model, in ms.
        baseline_ms: the baseline's, measured in turn with it; None without one.
        ratio: the model's time over the baseline's, median of the rounds' ratios:
            below 1 the model is faster.
        samples_ms: every sample, "model" and "baseline", by round.
    """

    ms: Measured
    baseline_ms: Measured | None
    ratio: Measured | None
    samples_ms: dict[str, tuple[float, ...]]

    def to_frame(self) -> pd.DataFrame:
        """One row each for model, baseline and ratio: value, low, high, unit, source."""
        rows = {"model": self.ms, "baseline": self.baseline_ms, "ratio": self.ratio}
        known = {name: vars(m) for name, m in rows.items() if m is not None}
        return pd.DataFrame.from_dict(known, orient="index")

    def plot(self):
        """Every sample, model beside baseline (plotly)."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name, samples in self.samples_ms.items():
            label = text(f"tuner.timed_{name}")
            figure.add_box(y=samples, name=label, boxpoints="all", showlegend=False)
        title = text("tuner.call_axis", source=self.ms.source)
        figure.update_yaxes(title=title, rangemode="tozero")
        return figure.update_layout(template="plotly_white")

    def why(self) -> str:
        if self.ratio is None:
            return text("tuner.latency", ms=self.ms, source=self.ms.source)
        side = "slower" if self.ratio.low > 1 else "even"
        side = "faster" if self.ratio.high < 1 else side
        facts = {"ms": self.ms, "baseline": self.baseline_ms, "ratio": self.ratio}
        return text(f"tuner.latency_{side}", source=self.ms.source, **facts)


def latency(
    model: Callable,
    example: Tensor | tuple,
    baseline: Callable | None = None,
    rounds: int = 30,
    warmup: int = 3,
) -> Latency:
    """Time one call of `model`, and of `baseline` in turn with it.

    In each round both are timed once, in alternating order, so that whatever slows the
    machine meanwhile slows both: trust the ratio, not the milliseconds. Modules are
    measured in evaluation mode, without gradients, and put back as they were.

    Args:
        model, baseline: modules, or any callables.
        example: the input, or a tuple of inputs. On a GPU each sample waits for it.
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
    timed = {"model": model} | ({"baseline": baseline} if baseline else {})
    modes = {m: m.training for m in timed.values() if isinstance(m, nn.Module)}
    try:
        for module in modes:
            module.eval()
        with torch.inference_mode():
            samples = _rounds(timed, inputs, rounds, warmup)
    finally:
        for module, training in modes.items():
            module.train(training)
    return _summary(samples, _place(inputs))


def _rounds(timed: dict[str, Callable], inputs: tuple, rounds: int, warmup: int):
    calls = {}
    for name, call in timed.items():
        for _ in range(warmup):
            call(*inputs)
        once = _sample(call, inputs, 1)
        calls[name] = max(1, round(SAMPLE_S / max(once, 1e-9)))
    samples: dict[str, list[float]] = {name: [] for name in timed}
    for i in range(rounds):
        for name in list(timed)[:: 1 if i % 2 else -1]:
            seconds = _sample(timed[name], inputs, calls[name])
            samples[name].append(1e3 * seconds)
    return samples


def _sample(call: Callable, inputs: tuple, calls: int) -> float:
    """Seconds a call, over so many calls."""
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


def _summary(samples: dict[str, list[float]], place: str) -> Latency:
    kept = {name: tuple(values) for name, values in samples.items()}
    ms = measured_median(samples["model"], "ms", place)
    if "baseline" not in samples:
        return Latency(ms, None, None, kept)
    pairs = zip(samples["model"], samples["baseline"], strict=True)
    ratio = measured_median([a / b for a, b in pairs], source=place)
    return Latency(ms, measured_median(samples["baseline"], "ms", place), ratio, kept)
