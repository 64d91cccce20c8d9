"""Divide neurons into core, medium and low by how often they are active, as in the guide.

Lesson: `notebooks/basic/04_dynamic_parameter_groups.ipynb`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor

from ..catalog import text
from ..report import Report

if TYPE_CHECKING:
    import plotly.graph_objects as go

GROUPS = ("core", "medium", "low")


@dataclass(frozen=True)
class Groups(Report):
    """The assignment of neurons to activity groups.

    Attributes:
        frequency: maps each layer name to the activation frequencies of its neurons (0
            to 1), a float64 tensor of shape `[N]`.
        group: maps each layer name to the groups of its neurons (0 for core, 1 for
            medium, 2 for low), an int64 tensor of shape `[N]`.
        rule: a description of how the groups were chosen.
        thresholds: the two frequencies that separate the groups, or None if the neurons
            were ranked instead.

    >>> import torch
    >>> from torch import nn
    >>> from deepseek_learn import dpg
    >>> net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8))
    >>> with dpg.DynamicParameterGroup(net) as watch:
    ...     y = net(torch.rand(16, 64))
    >>> groups = watch.groups()
    >>> {name: group.shape for name, group in groups.group.items()}
    {'0': torch.Size([32]), '2': torch.Size([8])}
    """

    frequency: dict[str, Tensor]
    group: dict[str, Tensor]
    rule: str
    thresholds: tuple[float, float] | None

    def indices(self, layer: str, group: str) -> Tensor:
        """Return the indices of the neurons in one group of a layer.

        The group is "core", "medium" or "low".
        """
        if group not in GROUPS:
            raise ValueError(f"group must be one of {GROUPS}; got {group!r}.")
        if layer not in self.group:
            raise ValueError(
                f"layer must be one of {sorted(self.group)}; got {layer!r}."
            )
        return (self.group[layer] == GROUPS.index(group)).nonzero()[:, 0]

    def to_frame(self) -> pd.DataFrame:
        """Tabulate the size, mean frequency and group fractions of each layer."""
        rows = {}
        for name, group in self.group.items():
            shares = {g: (group == i).double().mean().item() for i, g in _numbered()}
            mean = self.frequency[name].mean().item()
            rows[name] = {"neurons": len(group), "mean_frequency": mean} | shares
        return pd.DataFrame(rows).T.rename_axis("layer")

    def plot(self) -> "go.Figure":
        """Plot the sorted frequencies of each layer and the thresholds (plotly)."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for name, frequency in self.frequency.items():
            ranked = frequency.sort(descending=True).values
            rank = torch.linspace(0, 1, len(ranked))
            figure.add_scatter(x=rank.numpy(), y=ranked.numpy(), name=name)
        for line in self.thresholds or ():
            figure.add_hline(y=line, line_dash="dot", line_color="#888888")
        figure.update_xaxes(title=text("dpg.rank_axis"), tickformat=".0%")
        figure.update_yaxes(title=text("dpg.frequency_axis"), range=[0, 1])
        return figure.update_layout(template="plotly_white")

    def why(self) -> str:
        groups = torch.cat(list(self.group.values()))
        shares = {g: f"{(groups == i).double().mean():.1%}" for i, g in _numbered()}
        return text("dpg.groups", neurons=len(groups), rule=self.rule, **shares)


def _numbered() -> Iterator[tuple[int, str]]:
    return enumerate(GROUPS)


def by_threshold(frequency: Tensor, high: float, low: float) -> Tensor:
    group = torch.ones(len(frequency), dtype=torch.int64)
    group[frequency > high] = 0
    group[frequency < low] = 2
    return group


def by_rank(frequency: Tensor, ratio: float) -> Tensor:
    # at most half, because a neuron cannot be both core and low
    count = min(round(ratio * len(frequency)), len(frequency) // 2)
    # stable: neurons that are equally active, such as dead ones, keep their order
    order = frequency.argsort(descending=True, stable=True)  # [N], most active first
    group = torch.ones(len(frequency), dtype=torch.int64)
    group[order[:count]] = 0
    group[order[len(order) - count :]] = 2  # not `-count`, which is all of them for 0
    return group
