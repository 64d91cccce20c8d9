"""Compare two models side by side."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from ..catalog import text
from ..report import Report
from .memory import MIB
from .tables import ProfileTables

if TYPE_CHECKING:
    import plotly.graph_objects as go

MODULES = ["calls", "parameters", "gflops", "read_mib", "written_mib", "latency_ms"]


@dataclass(frozen=True)
class Comparison(Report):
    """A side-by-side comparison of two profiles.

    Layers are matched by path. A layer that exists in only one of the models gets its
    own row.

    Attributes:
        a, b: the profiles of two models, or of two versions of the same model.
        names: the labels of the two models.

    >>> import torch
    >>> from deepseek_learn import profiler
    >>> x = torch.rand(8, 64)
    >>> small, large = torch.nn.Linear(64, 8), torch.nn.Linear(64, 512)
    >>> profiles = [profiler.profile(net, x, progress=False) for net in (small, large)]
    >>> comparison = profiles[0].compare(profiles[1])
    >>> type(comparison).__name__
    'Comparison'
    """

    a: ProfileTables
    b: ProfileTables
    names: tuple[str, str]

    def totals(self) -> pd.DataFrame:
        """Return the totals of both models and the ratios b / a."""
        rows = {
            name: {"a": value(self.a), "b": value(self.b)}
            for name, value in _TOTALS.items()
        }
        frame = pd.DataFrame(rows).T
        frame["b / a"] = frame["b"] / frame["a"].where(frame["a"] != 0)
        return frame

    def to_frame(self) -> pd.DataFrame:
        """Return one row per layer, comparing the costs and times of both models."""
        pair = {"a": self.a.to_frame(), "b": self.b.to_frame()}
        frame = pd.concat(
            {key: table[["type", *MODULES]] for key, table in pair.items()}, axis=1
        ).swaplevel(axis=1)
        frame = frame[["type", *MODULES]]
        times = frame["latency_ms"].fillna(0)
        frame["latency_ms", "b - a"] = times["b"] - times["a"]
        return frame

    def plot(self) -> "go.Figure":
        """Plot the times of the layers that differ the most, side by side (plotly)."""
        import plotly.graph_objects as go

        times = self.to_frame()["latency_ms"].fillna(0)
        order = times["b - a"].abs().sort_values(ascending=False).index[:20]
        times = times.loc[[path for path in times.index if path in order]]
        figure = go.Figure()
        pairs = zip("ab", self.names, ("#9ecae9", "#4c78a8"), strict=True)
        for key, name, color in pairs:
            figure.add_bar(
                y=[path or "(model)" for path in times.index],
                x=times[key],
                orientation="h",
                name=f"{key}: {name}",
                marker_color=color,
            )
        figure.update_yaxes(autorange="reversed")
        figure.update_xaxes(title=text("profiler.metric_latency", unit="ms"))
        return figure.update_layout(
            template="plotly_white",
            title=text("profiler.comparison"),
            height=200 + 34 * len(times),
        )

    def why(self) -> str:
        totals = self.totals()["b / a"]
        times = self.to_frame()["latency_ms", "b - a"]
        most = times.abs().idxmax()
        return text(
            "profiler.compared",
            a=self.names[0],
            b=self.names[1],
            latency=totals["latency_ms"],
            flops=totals["gflops"],
            parameters=totals["parameters"],
            peak=totals["peak_mib"],
            layer=most or "(model)",
            change=times[most],
        )


_TOTALS = {
    "latency_ms": lambda p: p.latency_ms,
    "gflops": lambda p: p.flops / 1e9,
    "parameters": lambda p: p.parameters,
    "parameter_mib": lambda p: p.layers["parameter_bytes"].sum() / MIB,
    "peak_mib": lambda p: p.peak_mib,
}
