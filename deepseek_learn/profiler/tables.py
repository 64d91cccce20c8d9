"""The numbers of a profile, as tables of layers and of operators."""

from dataclasses import dataclass

import pandas as pd

from ..measure.roof import Roof
from ..report import Report
from .memory import MIB, Memory
from .verdicts import Verdict, judge


@dataclass(frozen=True)
class ProfileTables(Report):
    """The measured numbers of a profile, from which its figures are drawn.

    See `Profile`, which is a subclass, for the attributes.
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
        """The number of FLOPs in all products, which is twice the number of MACs."""
        return int(self.operators["flops"].sum())

    @property
    def macs(self) -> int:
        """The number of multiply-adds (MACs) in all products."""
        return self.flops // 2

    @property
    def parameters(self) -> int:
        """The number of parameters, counting shared parameters only once."""
        return int(self.layers["parameters"].sum())

    @property
    def peak_mib(self) -> float:
        """The peak activation memory in MiB, as reported by the allocator."""
        return self.memory.peak_mib

    @property
    def uncounted(self) -> pd.DataFrame:
        """A table of the operators that are not covered by any rule.

        The columns are `calls`, `layers` and `latency_ms`.
        """
        rows = self.operators[self.operators["kind"] == "uncounted"]
        groups = rows.groupby("operator")
        modules = groups["layer"].agg(_places)
        frame = pd.DataFrame({"calls": groups.size(), "layers": modules})
        frame["latency_ms"] = groups["latency_ms"].sum()
        return frame

    def to_frame(self, by: str = "layer", inclusive: bool = False) -> pd.DataFrame:
        """Return the profile as a table, with units in the column names.

        Args:
            by: "layer" returns one row per module, including its output shape, in the
                order of the module tree. "operator" returns one row per operator type,
                slowest first.
            inclusive: whether the row for a module includes its submodules.

        Raises:
            ValueError: if `by` is neither "layer" nor "operator".
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
        costs = ["flops", "bytes_read", "bytes_written", "out_bytes"]
        sums = rows.groupby(by)[[*costs, "latency_ms", "iqr_ms"]].sum()
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
        """Return the bottlenecks of the `top` slowest layers (all layers if None)."""
        return judge(self.layers, self.operators, self.roof)[:top]


def check_by(by: str) -> None:
    """Raise `ValueError` unless `by` is "layer" or "operator"."""
    if by not in ("layer", "operator"):
        raise ValueError(f'by must be "layer" or "operator"; got {by!r}.')


def _places(paths: pd.Series) -> str:
    """Return the first three distinct paths as a comma-separated string."""
    return ", ".join(path or "(model)" for path in sorted(set(paths))[:3])


def _inclusive(own: pd.DataFrame) -> pd.DataFrame:
    """Sum the rows of each module and its submodules, leaving `calls` unchanged."""
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
