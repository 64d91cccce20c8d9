"""The accuracy guard, which limits how much accuracy a model loses in INT8.

The sensitivity of a layer is the error in the network's output on held-out inputs when
only that layer is quantized. If the quantized model loses more than `aim` points, the
most sensitive layers stay in float. The guard chooses the smallest number of such
layers that reduces the loss to `aim`, and it rejects a model that still loses `LIMIT`
points or more.
"""

import math
import reprlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from ..catalog import text
from ..errors import DeepSeekLearnError
from ..report import Report
from .quantize import Quantizer
from .runtimes import Runner, runner

if TYPE_CHECKING:
    import onnx
    import plotly.graph_objects as go

AIM, LIMIT = 0.1, 1.0  # points of the metric
MOST_IN_FLOAT = 0.5  # maximum fraction of layers left in float

Metric = Callable[[Callable[..., Any]], float]


@dataclass(frozen=True)
class GuardedModel(Report):
    """An INT8 model with the results of every attempt to quantize it.

    Attributes:
        proto: the selected model, a `ModelProto`.
        float_metric: the metric of the float model, in points (0..100, higher is
            better).
        in_float: the names of the layers left in float.
        attempts: a table of all attempts, indexed by the number of layers left in
            float. The columns are `metric` and `loss`, in points.
        errors: the sensitivity of each layer; empty if all layers could be quantized.
        layers: the names of all quantizable layers.
        aim: the requested maximum loss, in points.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import deploy
    >>> net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    >>> x = torch.rand(2000, 16)
    >>> labels = net(x).argmax(1)
    >>> def accuracy(predict):
    ...     right = torch.as_tensor(predict(x)).argmax(1) == labels
    ...     return 100 * float(right.float().mean())
    >>> quantizer = deploy.Quantizer(deploy.to_onnx(net, x[:1]), [x])
    >>> guarded = deploy.guard(quantizer, accuracy, aim=0.5)  # at most 0.5 points less
    >>> len(guarded.attempts) > 0
    True
    """

    proto: Any
    float_metric: float
    in_float: tuple[str, ...]
    attempts: pd.DataFrame
    errors: dict[str, float]
    layers: tuple[str, ...]
    aim: float

    @property
    def metric(self) -> float:
        """The metric of the selected model, in points."""
        return float(self.attempts["metric"][len(self.in_float)])

    @property
    def loss(self) -> float:
        """The number of points lost, which is negative if INT8 happens to be better."""
        return self.float_metric - self.metric

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer, with its sensitivity and its precision."""
        precisions = [
            "float" if layer in self.in_float else "int8" for layer in self.layers
        ]
        frame = pd.DataFrame(
            {"kept_as": precisions}, index=pd.Index(self.layers, name="layer")
        )
        frame.insert(0, "error", pd.Series(self.errors, dtype=float))
        return frame

    def plot(self) -> "go.Figure":
        """Plot the sensitivity of each layer as a heat map, in model order (plotly)."""
        import numpy as np
        import plotly.graph_objects as go

        frame = self.to_frame()
        errors = np.maximum(frame["error"].to_numpy(float), 1e-12)
        heat = go.Heatmap(
            z=np.log10(errors)[None],
            x=list(frame.index),
            y=[""],
            text=[[f"{n}: {e:.2g}, {k}" for n, e, k in frame.itertuples()]],
            hoverinfo="text",
            colorscale="YlOrRd",
            colorbar={"title": text("deploy.error_axis")},
        )
        figure = go.Figure(heat).update_layout(template="plotly_white", height=320)
        return figure.add_scatter(
            x=self.in_float,
            y=[""] * len(self.in_float),
            mode="markers",
            marker={"symbol": "x", "color": "black", "size": 9},
            hoverinfo="skip",
            showlegend=False,
        )

    def why(self) -> str:
        summary = text(
            "deploy.guarded",
            before=self.float_metric,
            after=self.metric,
            loss=self.loss,
            layers=len(self.layers),
        )
        if self.in_float:
            names = ", ".join(self.in_float[:3])
            names += ", ..." if len(self.in_float) > 3 else ""
            all_int8 = float(self.attempts["loss"][0])
            summary += " " + text(
                "deploy.spared", count=len(self.in_float), names=names, loss=all_int8
            )
        if self.loss > self.aim:
            summary += " " + text("deploy.aim_missed", aim=self.aim)
        return summary


class AccuracyError(DeepSeekLearnError):
    """Raised when INT8 loses too much accuracy; `guard` holds the measurements."""

    def __init__(self, guarded: GuardedModel):
        self.guard = guarded
        super().__init__(
            f"INT8 loses {guarded.loss:.2f} points ({guarded.float_metric:.2f} to "
            f"{guarded.metric:.2f}) at best, and a loss of {LIMIT:g} or more is "
            f"rejected. Provide more calibration data, or choose another precision.\n"
            f"{guarded.attempts.to_string()}"
        )


def guard(
    quantizer: Quantizer,
    metric: Metric,
    aim: float = AIM,
    run: Runner = runner,
    progress: Callable[[float], None] = lambda part: None,
    samples: int = 16,
) -> GuardedModel:
    """Find the INT8 model with the fewest float layers that loses at most `aim` points.

    Args:
        quantizer: the calibrated model.
        metric: a function that takes `predict` and returns points (0..100, higher is
            better) on held-out data. `predict(x)` returns the output tensor of the
            model, or a tuple of tensors if there are several outputs. The choice of
            layers is fitted to this data, so keep separate data for the final
            evaluation.
        aim: the maximum loss in points, at least 0 and below 1. If leaving half of the
            layers in float is still not enough, the attempt with the smallest loss is
            returned.
        run: the runner for the target's runtime.
        progress: a function called with the fraction completed, 0..1.
        samples: the number of held-out inputs used to compute the sensitivities,
            rounded up to whole batches. A smaller number takes less time.

    Raises:
        AccuracyError: if every attempt loses 1 point or more. The message includes the
            table of attempts.
        ValueError: if `aim` is out of range, or if the metric is not in points.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import deploy
    >>> net = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 4))
    >>> x = torch.rand(2000, 16)
    >>> labels = net(x).argmax(1)
    >>> def accuracy(predict):
    ...     right = torch.as_tensor(predict(x)).argmax(1) == labels
    ...     return 100 * float(right.float().mean())
    >>> quantizer = deploy.Quantizer(deploy.to_onnx(net, x[:1]), [x])
    >>> guarded = deploy.guard(quantizer, accuracy, aim=0.5)  # at most 0.5 points less
    >>> guarded.float_metric  # points
    100.0
    """
    check_aim(aim)
    inputs: list = []  # the held-out inputs that the metric passes to predict
    float_metric = float_points(metric, quantizer.proto, run, inputs.append)
    losses: dict[int, float] = {}
    errors: dict[str, float] = {}

    def loss_at(count: int) -> float:
        if count not in losses:
            layers = most_sensitive(errors, count)
            proto = quantizer.int8(in_float=layers)
            losses[count] = float_metric - points(metric, proto, run)
        return losses[count]

    if loss_at(0) > aim:
        errors = quantizer.errors(inputs, samples, lambda part: progress(0.8 * part))
        _search(loss_at, aim, int(MOST_IN_FLOAT * len(quantizer.layers)))
    progress(1.0)
    count = _best(losses, aim)
    layers = most_sensitive(errors, count)
    frame = pd.DataFrame({"loss": losses}).sort_index().rename_axis("layers in float")
    frame.insert(0, "metric", float_metric - frame["loss"])
    guarded = GuardedModel(
        quantizer.int8(in_float=layers),
        float_metric,
        tuple(layers),
        frame,
        errors,
        tuple(quantizer.layers),
        aim,
    )
    if guarded.loss >= LIMIT:
        raise AccuracyError(guarded)
    return guarded


def most_sensitive(errors: dict[str, float], count: int) -> list[str]:
    """Return the names of the `count` most sensitive layers."""
    return sorted(errors, key=errors.__getitem__, reverse=True)[:count]


def float_points(
    metric: Metric,
    proto: "onnx.ModelProto",
    run: Runner = runner,
    watch: Callable[[Any], None] = lambda x: None,
) -> float:
    """Compute the metric of the float model; reject a metric that is not in points.

    Typical mistakes are a scale from 0 to 1, and a loss or a perplexity.
    """
    value = points(metric, proto, run, watch)
    if not 1 < value <= 100 + 1e-3:  # float32 may round 100 up
        raise ValueError(
            f"metric must return points out of 100 (87.5, not 0.875); the float model "
            f"got {value:g}."
        )
    return value


def points(
    metric: Metric,
    proto: "onnx.ModelProto",
    run: Runner = runner,
    watch: Callable[[Any], None] = lambda x: None,
) -> float:
    """Compute the metric of an exported model, in points.

    Args:
        watch: a function called with each input that the metric passes to `predict`.
    """
    answer = run(proto, threads=torch.get_num_threads())

    def predict(x: Any) -> Any:
        watch(x)
        answers = tuple(torch.from_numpy(y) for y in answer(x))
        return answers if len(answers) > 1 else answers[0]

    value = metric(predict)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(
            f"metric must return a finite number of points; got {reprlib.repr(value)}."
        )
    return number


def check_aim(aim: float) -> None:
    """Raise a `ValueError` unless `aim` is at least 0 and below 1 point."""
    if not 0 <= aim < LIMIT:
        raise ValueError(
            f"the maximum loss must be at least 0 and below {LIMIT:g} point; "
            f"got {aim:g}."
        )


def _search(loss_at: Callable[[int], float], aim: float, most: int) -> None:
    """Find the smallest number of float layers that reaches the target.

    Doubling and then bisecting the number takes about 2 log2(most) attempts.
    """
    low, high = 0, 1
    while high < most and loss_at(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if high < 1 or loss_at(high) > aim:
        return
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if loss_at(middle) <= aim else (middle, high)


def _best(losses: dict[int, float], aim: float) -> int:
    """Return the smallest count that reaches the target, or else the most accurate one."""
    within = [count for count, loss in losses.items() if loss <= aim]
    return min(within) if within else min(losses, key=lambda n: (losses[n], n))
