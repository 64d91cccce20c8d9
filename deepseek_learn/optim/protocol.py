"""Compare optimizers fairly: tune all of them the same way, then count steps.

Any optimizer looks good next to an untuned one. The hyperparameters of every optimizer
are therefore searched in the same way, until the best configuration is *interior*,
meaning that it is better than its neighbors on every axis. The loss of one tuned
optimizer then serves as the target. Every other optimizer is trained with several step
budgets, and each budget is a separate run with its own schedule. A loss in the middle
of a longer run says little, because the learning rate is still high at that point.
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..catalog import text
from ..report import Report

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class TuningResult(Report):
    """The result of a hyperparameter search.

    Attributes:
        best: the configuration with the lowest loss.
        loss: the loss of the best configuration.
        trials: a table with one row per configuration, in order of evaluation. The
            columns are the hyperparameters and `loss`.
        interior: whether every neighbor of `best` on every axis was evaluated and none
            of them is better. A value at the end of an axis has only one neighbor; see
            `edges`.
        edges: the axes on which `best` is at either end, with nothing evaluated beyond
            it.

    >>> from deepseek_learn.optim import tune
    >>> axes = {"lr": [0.01, 0.1, 1.0]}
    >>> result = tune(axes, {"lr": 0.01}, lambda config: abs(config["lr"] - 0.1), 9)
    >>> result.best, result.loss, result.interior
    ({'lr': 0.1}, 0.0, True)
    """

    best: dict[str, Any]
    loss: float
    trials: pd.DataFrame
    interior: bool
    edges: tuple[str, ...] = ()

    def to_frame(self) -> pd.DataFrame:
        return self.trials

    def plot(self) -> "go.Figure":
        """Plot the loss of each configuration in order of evaluation (plotly)."""
        import plotly.graph_objects as go

        settings = self.trials.drop(columns="loss").astype(str).agg(" · ".join, axis=1)
        loss = self.trials["loss"]
        figure = go.Figure(go.Scatter(y=loss, hovertext=settings, mode="markers"))
        figure.add_scatter(y=loss.cummin(), mode="lines", line_shape="hv")
        figure.update_xaxes(title=text("tuned.order"))
        figure.update_yaxes(title=text("tuned.loss"))
        return figure.update_layout(template="plotly_white", showlegend=False)

    def why(self) -> str:
        best = ", ".join(f"{name} {value}" for name, value in self.best.items())
        state = "interior" if self.interior else "open"
        count, loss = len(self.trials), self.loss
        sentence = text(f"tuned.{state}", count=count, loss=loss, best=best)
        if not self.edges:
            return sentence
        return sentence + text("tuned.edges", axes=", ".join(self.edges))


def tune(
    axes: Mapping[str, Sequence[Any]],
    start: Mapping[str, Any],
    evaluate: Callable[[dict[str, Any]], float],
    budget: int,
) -> TuningResult:
    """Search for the best configuration, one axis at a time.

    The search moves to a neighboring value whenever that lowers the loss, and it ends
    when no neighbor is better.

    Args:
        axes: a dict that maps each hyperparameter to its candidate values, in order.
        start: the initial value of each hyperparameter.
        evaluate: a function that returns the loss of a configuration (lower is better),
            or infinity or NaN if the run diverged.
        budget: the maximum number of configurations to evaluate, at least 1.

    Raises:
        ValueError: if `start` is not on the axes, or if `budget` is below 1.

    >>> from deepseek_learn.optim import tune
    >>> axes = {"lr": [0.001, 0.01, 0.1], "momentum": [0.8, 0.9]}
    >>> def evaluate(config):
    ...     return abs(config["lr"] - 0.01) + abs(config["momentum"] - 0.9)
    >>> tune(axes, {"lr": 0.001, "momentum": 0.8}, evaluate, budget=20).best
    {'lr': 0.01, 'momentum': 0.9}
    """
    axes = {name: list(values) for name, values in axes.items()}  # read iterators once
    _check(axes, start, budget)
    losses: dict[tuple, float] = {}
    skipped: set[tuple] = set()

    def loss(settings: dict[str, Any]) -> float:
        key = tuple(settings[name] for name in axes)
        if key not in losses and len(losses) == budget:
            skipped.add(key)
            return math.inf
        if key not in losses:
            value = evaluate(settings)
            losses[key] = math.inf if math.isnan(value) else value
        return losses[key]

    best, moved = {name: start[name] for name in axes}, True
    loss(best)
    while moved:
        moved = False
        for name, values in axes.items():
            for direction in (1, -1):
                while neighbor := _neighbor(best, name, values, direction):
                    if not loss(neighbor) < loss(best):
                        break
                    best, moved = neighbor, True
    trials = pd.DataFrame([dict(zip(axes, key, strict=True)) for key in losses])
    trials = trials.assign(loss=list(losses.values()))
    edges = [n for n, values in axes.items() if best[n] in (values[0], values[-1])]
    return TuningResult(best, loss(best), trials, not skipped, tuple(edges))


def _check(axes: Mapping[str, Sequence[Any]], start: Mapping, budget: int) -> None:
    for name, values in axes.items():
        if start.get(name) not in values:
            raise ValueError(
                f"start must name a value of each axis; {name!r} is "
                f"{start.get(name)!r}, not one of {values}."
            )
    if budget < 1:
        raise ValueError(f"budget must be at least 1; got {budget}.")


def _neighbor(
    settings: dict, name: str, values: Sequence, direction: int
) -> dict | None:
    """Return the configuration one step along an axis, or None past the end of it."""
    i = values.index(settings[name]) + direction
    return settings | {name: values[i]} if 0 <= i < len(values) else None


def steps_to(target: float, losses: Mapping[int, float]) -> float | None:
    """Estimate the number of steps needed to reach a target loss.

    The estimate is based on complete runs of several lengths. It interpolates between
    the shortest run that reaches the target and the next shorter run, linearly in the
    logarithm of the number of steps.

    Args:
        target: the loss to reach.
        losses: a dict that maps the number of steps in a run to its final loss, which
            is infinity or NaN if the run diverged.

    Returns:
        The estimated number of steps, or None if no run reaches the target. If the
        shortest run reaches the target, its length is returned as an upper bound.

    Raises:
        ValueError: if `losses` is empty.

    >>> from deepseek_learn.optim import steps_to
    >>> round(steps_to(0.5, {100: 1.0, 200: 0.25}))
    159
    >>> print(steps_to(0.1, {100: 1.0, 200: 0.25}))  # not reached
    None
    """
    if not losses:
        raise ValueError("losses must hold at least one run; got none.")
    budgets = sorted(losses)
    if losses[budgets[0]] <= target:
        return float(budgets[0])
    for a, b in pairwise(budgets):
        if losses[b] <= target:
            if not math.isfinite(losses[a]):
                return float(b)  # no interpolation from a diverged run
            along = (losses[a] - target) / (losses[a] - losses[b])
            return a * (b / a) ** min(max(along, 0.0), 1.0)
    return None
