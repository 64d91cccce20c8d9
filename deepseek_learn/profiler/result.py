"""What the profiler answers with: tables, verdicts, pictures, a page."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..catalog import text
from ..measure.roof import Roof
from ..report import Report
from .memory import MIB, Memory
from .verdicts import Verdict, judge


@dataclass(frozen=True)
class Profile(Report):
    """What one forward pass, or one training step, of a model costs.

    1 MAC (multiply-add) = 2 FLOPs; both are given.

    Attributes:
        model: the class of the model.
        train: whether a backward pass is in it.
        device, dtype, threads: on what and with how many threads it ran.
        latency_ms: the median of whole passes without any instrument, and quartiles.
        operators: a row an operator call, in order.
        layers: a row a module; index: its path, "" the model itself.
        memory: activations: peak, what is alive then, over time.
        roof: the peaks of this machine.
        weights: parameter → how its values are distributed.
        notes: what a reader must know, such as that a compiled model ran uncompiled.
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
        """Each parameter once, however many modules share it."""
        return int(self.layers["parameters"].sum())

    @property
    def peak_mib(self) -> float:
        """Activation memory: the allocator's high-water mark."""
        return self.memory.peak_mib

    @property
    def uncounted(self) -> pd.DataFrame:
        """Operators that no rule knows: calls, milliseconds, the modules they are in."""
        some = self.operators[self.operators["kind"] == "uncounted"]
        groups = some.groupby("operator")
        where = groups["layer"].agg(_places)
        frame = pd.DataFrame({"calls": groups.size(), "layers": where})
        frame["latency_ms"] = groups["latency_ms"].sum()
        return frame

    def to_frame(self, by: str = "layer", inclusive: bool = False) -> pd.DataFrame:
        """The table, units in the names of the columns.

        Args:
            by: "layer": a row a module in the order of the tree, with the shape of what
                it returns; "operator": a row a kind of operator, the slowest first.
            inclusive: a module's figures contain those of the modules in it.

        Raises:
            ValueError: for another `by`.
        """
        check_by(by)
        figures = self._figures(by)
        if by == "operator":
            return figures.sort_values("latency_ms", ascending=False)
        # a container that is never called, and holds nothing itself, says nothing
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
        rows, whole = self.operators, self.operators["latency_ms"].sum()
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
                "share_%": 100 * sums["latency_ms"] / (whole or 1),
            }
        )
        if by == "operator":
            frame.insert(0, "calls", rows.groupby(by).size())
        return frame

    def verdicts(self, top: int | None = 5) -> list[Verdict]:
        """What bounds the slowest layers, and what to do about it; None: all layers."""
        return judge(self.layers, self.operators, self.roof)[:top]

    def why(self) -> str:
        said = text(
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
        return " ".join([said, *slowest, *self.notes])

    def plot(self, metric: str = "latency", kind: str = "icicle"):
        """The module tree, areas by `metric` (plotly).

        Args:
            metric: "flops", "parameters", "bytes", "activation" or "latency".
            kind: "icicle" or "treemap".
        """
        from .views import tree

        return tree(self, metric, kind)

    def plot_memory(self):
        """Live tensors over the operators, and the allocator's peak (plotly)."""
        from .views import timeline

        return timeline(self)

    def plot_roofline(self):
        """Each layer's FLOP/s over its FLOP/byte, under this machine's roof (plotly)."""
        from .views import roofline

        return roofline(self)

    def plot_parameters(self, top: int = 12):
        """How the weights of the `top` largest parameters are distributed (plotly)."""
        from .views import histograms

        return histograms(self, top)

    def compare(self, other: "Profile", names: tuple[str, str] | None = None):
        """This model (a) and another (b) side by side: a `Comparison`.

        Args:
            names: what to call the two; by default their classes.
        """
        from .comparison import Comparison

        return Comparison(self, other, names or (self.model, other.model))

    def save(self, path: str | Path) -> Path:
        """Everything as one self-contained HTML page that needs no network."""
        from .page import write

        return write(self, Path(path))


def check_by(by: str) -> None:
    """Refuse what no table has a row for."""
    if by not in ("layer", "operator"):
        raise ValueError(f'by must be "layer" or "operator"; got {by!r}.')


def _places(paths: pd.Series) -> str:
    """The first three modules of those in which something is."""
    return ", ".join(path or "(model)" for path in sorted(set(paths))[:3])


def _inclusive(own: pd.DataFrame) -> pd.DataFrame:
    """Sums over each module and those in it; how often it is called stays its own."""
    paths = list(own.index)
    rows = {}
    for path in paths:
        inside = [p for p in paths if p == path or p.startswith(f"{path}.") or not path]
        rows[path] = own.loc[inside].sum()
    frame = pd.DataFrame(rows).T
    frame["calls"] = own["calls"]
    return frame.rename_axis(own.index.name)
