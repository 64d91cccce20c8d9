"""The profiler's result: tables, verdicts, figures and an HTML page."""

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
    """The cost of one forward pass, or one training step, of a model.

    1 MAC (multiply-add) = 2 FLOPs; both are available.

    Attributes:
        model: the model's class name.
        train: whether a backward pass is included.
        device, dtype, threads: the device, dtype and number of threads of the run.
        latency_ms: the median of uninstrumented passes; `latency_low_ms` and
            `latency_high_ms` are the quartiles.
        operators: one row per operator call, in order.
        layers: one row per module, indexed by its path; "" is the model itself.
        memory: the activations' peak, the tensors alive at the peak, and the timeline.
        roof: this machine's measured peaks.
        weights: parameter → the distribution of its values.
        notes: caveats, for example that a compiled model ran uncompiled.
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
        """The number of parameters; one that several modules share counts once."""
        return int(self.layers["parameters"].sum())

    @property
    def peak_mib(self) -> float:
        """The peak of the activation memory: the allocator's high-water mark."""
        return self.memory.peak_mib

    @property
    def uncounted(self) -> pd.DataFrame:
        """The operators that no rule covers, with calls, modules and milliseconds."""
        rows = self.operators[self.operators["kind"] == "uncounted"]
        groups = rows.groupby("operator")
        modules = groups["layer"].agg(_places)
        frame = pd.DataFrame({"calls": groups.size(), "layers": modules})
        frame["latency_ms"] = groups["latency_ms"].sum()
        return frame

    def to_frame(self, by: str = "layer", inclusive: bool = False) -> pd.DataFrame:
        """Return the table, with units in the column names.

        Args:
            by: "layer" gives one row per module in tree order, with its output shape;
                "operator" gives one row per operator type, slowest first.
            inclusive: include each module's submodules in its figures.

        Raises:
            ValueError: if `by` is anything else.
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
        """Return what limits the `top` slowest layers (all if None), with advice."""
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
        """Plot the module tree, with areas proportional to `metric` (plotly).

        Args:
            metric: "flops", "parameters", "bytes", "activation" or "latency".
            kind: "icicle" or "treemap".
        """
        from .views import tree

        return tree(self, metric, kind)

    def plot_memory(self) -> "go.Figure":
        """Plot live tensors after each operator, and the allocator's peak (plotly)."""
        from .views import timeline

        return timeline(self)

    def plot_roofline(self) -> "go.Figure":
        """Plot each layer's FLOP/s over FLOP/byte, with the machine's roof (plotly)."""
        from .views import roofline

        return roofline(self)

    def plot_parameters(self, top: int = 12) -> "go.Figure":
        """Plot histograms of the `top` largest parameters (plotly)."""
        from .views import histograms

        return histograms(self, top)

    def compare(
        self, other: "Profile", names: tuple[str, str] | None = None
    ) -> "Comparison":
        """Compare this model (a) with another one (b), side by side.

        Args:
            names: labels for the two; by default, their class names.
        """
        from .comparison import Comparison

        return Comparison(self, other, names or (self.model, other.model))

    def save(self, path: str | Path) -> Path:
        """Write everything to one self-contained HTML page that works offline."""
        from .page import write

        return write(self, Path(path))


def check_by(by: str) -> None:
    """Raise `ValueError` unless `by` is "layer" or "operator"."""
    if by not in ("layer", "operator"):
        raise ValueError(f'by must be "layer" or "operator"; got {by!r}.')


def _places(paths: pd.Series) -> str:
    """Join the first three of these modules into one string."""
    return ", ".join(path or "(model)" for path in sorted(set(paths))[:3])


def _inclusive(own: pd.DataFrame) -> pd.DataFrame:
    """Sum over each module and its submodules; `calls` remains the module's own."""
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
