"""The result of profiling a model, with tables, verdicts, figures and an HTML page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..catalog import text
from .tables import ProfileTables

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from .comparison import Comparison


@dataclass(frozen=True)
class Profile(ProfileTables):
    """The cost of one forward pass or one training step of a model.

    One multiply-add (MAC) is 2 FLOPs. Both counts are available.

    Attributes:
        model: the class name of the model.
        train: whether the profile includes a backward pass.
        device, dtype, threads: the device, dtype and number of threads that were used.
        latency_ms: the median time of the uninstrumented passes in ms.
            `latency_low_ms` and `latency_high_ms` are the quartiles.
        operators: a table with one row per operator call, in call order.
        layers: a table with one row per module, indexed by path. The path of the model
            itself is "".
        memory: the activation memory, with its peak, its timeline and the tensors that
            are alive at the peak.
        roof: the measured peaks of this machine.
        weights: the distribution of each parameter's values, keyed by name.
        notes: caveats, for example that a compiled model was run uncompiled.

    >>> import torch
    >>> from deepseek_learn import profiler
    >>> net, x = torch.nn.Linear(64, 8), torch.rand(8, 64)
    >>> profile = profiler.profile(net, x, progress=False)
    >>> profile.model, profile.flops
    ('Linear', 8192)
    >>> profile.latency_low_ms <= profile.latency_ms <= profile.latency_high_ms
    True
    """

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
        """Plot the module tree with areas proportional to a metric (plotly).

        Args:
            metric: "flops", "parameters", "bytes", "activation" or "latency".
            kind: the type of chart, either "icicle" or "treemap".
        """
        from .views import tree

        return tree(self, metric, kind)

    def plot_memory(self) -> "go.Figure":
        """Plot the live activation memory during the pass and its peak (plotly)."""
        from .views import timeline

        return timeline(self)

    def plot_roofline(self) -> "go.Figure":
        """Plot each layer on the roofline of the machine (plotly).

        The axes are arithmetic intensity in FLOP/byte and throughput in GFLOP/s.
        """
        from .views import roofline

        return roofline(self)

    def plot_parameters(self, top: int = 12) -> "go.Figure":
        """Plot a histogram for each of the `top` largest parameters (plotly)."""
        from .views import histograms

        return histograms(self, top)

    def compare(
        self, other: "Profile", names: tuple[str, str] | None = None
    ) -> "Comparison":
        """Compare this profile (a) with another one (b), side by side.

        Args:
            other: the profile to compare with.
            names: the labels of the two models; by default, their class names.
        """
        from .comparison import Comparison

        return Comparison(self, other, names or (self.model, other.model))

    def save(self, path: str | Path) -> Path:
        """Write the profile to a self-contained HTML file and return its path."""
        from .page import write

        return write(self, Path(path))
