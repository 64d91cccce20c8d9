"""What the profiler returns: tables, verdicts, figures and an HTML page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..catalog import text
from ..measure.roof import Roof
from ..report import Report
from .memory import MIB, Memory
from .verdicts import Verdict, judge

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from .comparison import Comparison


@dataclass(frozen=True)
class Profile(Report):
    """What one forward pass, or one training step, of a model costs.

    1 MAC (multiply-add) = 2 FLOPs; both are available.

    Attributes:
        model: the model's class name.
        train: whether a backward pass is included.
        device, dtype, threads: where and with how many threads the model ran.
        latency_ms: the median of uninstrumented passes; `latency_low_ms` and
            `latency_high_ms` are the quartiles.
        operators: one row per operator call, in order.
        layers: one row per module; index: its path, "" for the model itself.
        memory: activations: the peak, the tensors alive at the peak, the timeline.
        roof: this machine's measured peaks.
        weights: parameter → the distribution of its values.
        notes: caveats, such as that a compiled model ran uncompiled.
    """

    model: str
    train: bool
    device: str
    dtype: str
    threads: int
    latency_ms: float
    latency_low_ms: float
    latency_high_ms: float
    operators: pd.DataFrame
    layers: pd.DataFrame
    memory: Memory
    roof: Roof
    weights: dict[str, pd.Series]
    notes: tuple[str, ...]

    @property
    def flops(self) -> int:
        """2 x multiply-adds of all products."""
        return int(self.operators["flops"].sum())

    @property
    def macs(self) -> int:
        """Multiply-adds of all products."""
        return self.flops // 2

    @property
    def parameters(self) -> int:
        """Each parameter counted once, however many modules share it."""
        return int(self.layers["parameters"].sum())

    @property
    def peak_mib(self) -> float:
        """Activation memory: the allocator's high-water mark."""
        return self.memory.peak_mib

    @property
    def uncounted(self) -> pd.DataFrame:
        """Operators that no rule covers: calls, milliseconds and calling modules."""
        rows = self.operators[self.operators["kind"] == "uncounted"]
        groups = rows.groupby("operator")
        modules = groups["layer"].agg(_places)
        frame = pd.DataFrame({"calls": groups.size(), "layers": modules})
        frame["latency_ms"] = groups["latency_ms"].sum()
        return frame

    def to_frame(self, by: str = "layer", inclusive: bool = False) -> pd.DataFrame:
        """The table, with units in the column names.

        Args:
            by: "layer": one row per module in tree order, with its output shape;
                "operator": one row per operator type, slowest first.
            inclusive: include each module's submodules in its figures.

        Raises:
            ValueError: for any other `by`.
        """
        check_by(by)
        figures = self._figures(by)
        if by == "operator":
            return figures.sort_values("latency_ms", ascending=False)
        # skip containers that are never called and have no parameters of their own
        used = (self.layers["calls"] > 0) | (self.layers["parameters"] > 0)
        figures = figures.reindex(self.layers.index[used]).fillna(0)
        figures.insert(0, "calls", self.layers["calls"])
        figures.insert(2, "parameters", self.layers["parameters"])
        alive = pd.Series(self.memory.alive, dtype=float)
        figures["alive_mib"] = alive.reindex(figures.index).fillna(0)
        if inclusive:
            figures = _inclusive(figures)
        figures.insert(0, "type", self.layers["type"])
        figures.insert(1, "output_shape", self.layers["output_shape"])
        return figures.astype({"calls": int, "parameters": int})

    def _figures(self, by: str) -> pd.DataFrame:
        rows, total = self.operators, self.operators["latency_ms"].sum()
        sums = rows.groupby(by)[
            [
                "flops",
                "bytes_read",
                "bytes_written",
                "out_bytes",
                "latency_ms",
                "iqr_ms",
            ]
        ].sum()
        frame = pd.DataFrame(
            {
                "gflops": sums["flops"] / 1e9,
                "gmacs": sums["flops"] / 2e9,
                "read_mib": sums["bytes_read"] / MIB,
                "written_mib": sums["bytes_written"] / MIB,
                "output_mib": sums["out_bytes"] / MIB,
                "latency_ms": sums["latency_ms"],
                "spread_ms": sums["iqr_ms"],
                "share_%": 100 * sums["latency_ms"] / (total or 1),
            }
        )
        if by == "operator":
            frame.insert(0, "calls", rows.groupby(by).size())
        return frame

    def verdicts(self, top: int | None = 5) -> list[Verdict]:
        """What limits the `top` slowest layers, and what to do about it; None: all."""
        return judge(self.layers, self.operators, self.roof)[:top]

    def why(self) -> str:
        summary = text(
            f"profiler.why_{'step' if self.train else 'forward'}",
            model=self.model,
            latency=self.latency_ms,
            gflops=self.flops / 1e9,
            parameters=self.parameters,
            peak=self.peak_mib,
            workspace=self.memory.workspace_mib,
            at=self.memory.at or "-",
        )
        slowest = [str(verdict) for verdict in self.verdicts(1)]
        return " ".join([summary, *slowest, *self.notes])

    def plot(self, metric: str = "latency", kind: str = "icicle") -> "go.Figure":
        """The module tree, with areas proportional to `metric` (plotly).

        Args:
            metric: "flops", "parameters", "bytes", "activation" or "latency".
            kind: "icicle" or "treemap".
        """
        from .views import tree

        return tree(self, metric, kind)

    def plot_memory(self) -> "go.Figure":
        """Live tensors after each operator, and the allocator's peak (plotly)."""
        from .views import timeline

        return timeline(self)

    def plot_roofline(self) -> "go.Figure":
        """Each layer's FLOP/s against its FLOP/byte, with this machine's roof (plotly)."""
        from .views import roofline

        return roofline(self)

    def plot_parameters(self, top: int = 12) -> "go.Figure":
        """Histograms of the `top` largest parameters (plotly)."""
        from .views import histograms

        return histograms(self, top)

    def compare(
        self, other: "Profile", names: tuple[str, str] | None = None
    ) -> "Comparison":
        """This model (a) and another (b) side by side: a `Comparison`.

        Args:
            names: labels of the two; by default their class names.
        """
        from .comparison import Comparison

        return Comparison(self, other, names or (self.model, other.model))

    def save(self, path: str | Path) -> Path:
        """Write everything to one self-contained HTML page that needs no network."""
        from .page import write

        return write(self, Path(path))


def check_by(by: str) -> None:
    """Raise `ValueError` unless `by` is "layer" or "operator"."""
    if by not in ("layer", "operator"):
        raise ValueError(f'by must be "layer" or "operator"; got {by!r}.')


def _places(paths: pd.Series) -> str:
    """The first three of these modules, as one string."""
    return ", ".join(path or "(model)" for path in sorted(set(paths))[:3])


def _inclusive(own: pd.DataFrame) -> pd.DataFrame:
    """Sums over each module and its submodules; `calls` stays the module's own count."""
    paths = list(own.index)
    rows = {}
    for path in paths:
        subtree = [
            p for p in paths if p == path or p.startswith(f"{path}.") or not path
        ]
        rows[path] = own.loc[subtree].sum()
    frame = pd.DataFrame(rows).T
    frame["calls"] = own["calls"]
    return frame.rename_axis(own.index.name)
