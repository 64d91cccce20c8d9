"""The accuracy guard: what INT8 costs on held-out data, and which layers to spare.

A layer's sensitivity is the error of the whole network, on held-out inputs, when that
layer alone is quantised. The most sensitive layers are left in float, as few as bring the
loss down to the `aim`; a model that still loses `LIMIT` points is refused.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from ..catalogue import text
from ..errors import DeepSeekLearnError
from ..report import Report
from .quantise import Quantiser
from .runtimes import Runner, runner

AIM, LIMIT = 0.1, 1.0  # points of the metric
MOST_IN_FLOAT = 0.5  # of the layers: more would be no INT8 model

Metric = Callable[[Callable], float]


@dataclass(frozen=True)
class Guarded(Report):
    """An INT8 model and what the metric said on the way to it.

    Attributes:
        proto: the model chosen, a `ModelProto`.
        float_metric: of the original, in points (0..100, higher is better).
        in_float: the layers that were left in float.
        tried: layers in float → `metric`, and `loss` in points.
        errors: layer → its sensitivity; empty where nothing had to be spared.
        layers: all that could be quantised.
        aim: points that may be lost.
    """

    proto: Any
    float_metric: float
    in_float: tuple[str, ...]
    tried: pd.DataFrame
    errors: dict[str, float]
    layers: tuple[str, ...]
    aim: float

    @property
    def metric(self) -> float:
        """Of the model chosen."""
        return float(self.tried["metric"][len(self.in_float)])

    @property
    def loss(self) -> float:
        """Points lost; below 0 where INT8 happens to be better."""
        return self.float_metric - self.metric

    def to_frame(self) -> pd.DataFrame:
        """A row a layer: its sensitivity, and what it was kept as."""
        kept = ["float" if layer in self.in_float else "int8" for layer in self.layers]
        frame = pd.DataFrame(
            {"kept_as": kept}, index=pd.Index(self.layers, name="layer")
        )
        frame.insert(0, "error", pd.Series(self.errors, dtype=float))
        return frame

    def plot(self):
        """The sensitivities in the order of the model, a cell a layer (plotly)."""
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
        said = text(
            "deploy.guarded",
            before=self.float_metric,
            after=self.metric,
            loss=self.loss,
            layers=len(self.layers),
        )
        if self.in_float:
            names = ", ".join(self.in_float[:3])
            names += ", ..." if len(self.in_float) > 3 else ""
            all_int8 = float(self.tried["loss"][0])
            said += " " + text(
                "deploy.spared", count=len(self.in_float), names=names, loss=all_int8
            )
        if self.loss > self.aim:
            said += " " + text("deploy.aim_missed", aim=self.aim)
        return said


class AccuracyError(DeepSeekLearnError):
    """INT8 loses too much. `guarded` holds what was measured."""

    def __init__(self, guarded: Guarded):
        self.guarded = guarded
        super().__init__(
            f"INT8 loses {guarded.loss:.2f} points ({guarded.float_metric:.2f} to "
            f"{guarded.metric:.2f}) at best, and {LIMIT:g} or more is refused: give "
            f"more calibration data, or another precision.\n{guarded.tried.to_string()}"
        )


def guard(
    quantiser: Quantiser,
    metric: Metric,
    aim: float = AIM,
    run: Runner = runner,
    progress: Callable[[float], None] = lambda part: None,
    samples: int = 16,
) -> Guarded:
    """The INT8 model with as few layers in float as lose no more than `aim` points.

    Args:
        metric: `metric(predict)` gives points (0..100, higher is better) on held-out
            data, where `predict(x)` gives the model's output tensor, or a tuple of them
            in order where it has several. Choosing layers by it is learning from that
            data: keep further data for the final figure.
        aim: in points, at least 0 and below 1. Where half of the layers in float do not
            reach it, the attempt that lost least is taken.
        run: what answers: the runtime of the target.
        samples: so many held-out inputs, rounded up to whole batches, tell how
            sensitive each layer is; fewer take less time.
        progress: called with the part done, 0..1.

    Raises:
        AccuracyError: with the table, when every attempt loses 1 point or more.
        ValueError: for an `aim` out of range, or a metric that is not in points.
    """
    check_aim(aim)
    asked: list = []  # the held-out inputs, as the metric gives them
    whole = float_points(metric, quantiser.proto, run, asked.append)
    losses: dict[int, float] = {}
    errors: dict[str, float] = {}

    def lost(count: int) -> float:
        if count not in losses:
            spared = most_sensitive(errors, count)
            proto = quantiser.int8(in_float=spared)
            losses[count] = whole - points(metric, proto, run)
        return losses[count]

    if lost(0) > aim:
        errors = quantiser.errors(asked, samples, lambda part: progress(0.8 * part))
        _search(lost, aim, int(MOST_IN_FLOAT * len(quantiser.layers)))
    progress(1.0)
    count = _best(losses, aim)
    spared = most_sensitive(errors, count)
    frame = pd.DataFrame({"loss": losses}).sort_index().rename_axis("layers in float")
    frame.insert(0, "metric", whole - frame["loss"])
    found = Guarded(
        quantiser.int8(in_float=spared),
        whole,
        tuple(spared),
        frame,
        errors,
        tuple(quantiser.layers),
        aim,
    )
    if found.loss >= LIMIT:
        raise AccuracyError(found)
    return found


def most_sensitive(errors: dict[str, float], count: int) -> list[str]:
    """The `count` layers whose quantisation changes the answer most."""
    return sorted(errors, key=errors.__getitem__, reverse=True)[:count]


def float_points(
    metric: Metric,
    proto,
    run: Runner = runner,
    watch: Callable[[Any], None] = lambda x: None,
) -> float:
    """The `points` of the float model; refuses a metric that gives a share of 1."""
    whole = points(metric, proto, run, watch)
    if whole <= 1:
        raise ValueError(
            f"metric must give points of 100 (87.5, not 0.875); the float model got "
            f"{whole:g}."
        )
    return whole


def points(
    metric: Metric,
    proto,
    run: Runner = runner,
    watch: Callable[[Any], None] = lambda x: None,
) -> float:
    """What the metric says of an exported model.

    Args:
        watch: is shown each input that the metric asks about.
    """
    answer = run(proto, threads=torch.get_num_threads())

    def predict(x):
        watch(x)
        answers = tuple(torch.from_numpy(y) for y in answer(x))
        return answers if len(answers) > 1 else answers[0]

    value = float(metric(predict))
    if not math.isfinite(value):
        raise ValueError(f"metric must give a finite number of points; got {value}.")
    return value


def check_aim(aim: float) -> None:
    """Refuse a tolerated loss that is not in 0 <= aim < 1 point (`ValueError`)."""
    if not 0 <= aim < LIMIT:
        raise ValueError(
            f"the tolerated loss must be at least 0 and below {LIMIT:g} point; got {aim:g}."
        )


def _search(lost: Callable[[int], float], aim: float, most: int) -> None:
    """Doubles until the aim is reached, then halves the interval: about 2 log2(most)."""
    low, high = 0, 1
    while high < most and lost(high) > aim:
        low, high = high, 2 * high
    high = min(high, most)
    if high < 1 or lost(high) > aim:
        return
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if lost(middle) <= aim else (middle, high)


def _best(losses: dict[int, float], aim: float) -> int:
    """Fewest layers in float within the aim, else the smallest loss."""
    within = [count for count, loss in losses.items() if loss <= aim]
    return min(within) if within else min(losses, key=lambda n: (losses[n], n))
