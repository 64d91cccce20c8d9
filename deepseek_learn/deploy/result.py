"""The result of a deployment: the output folder and a report."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..catalog import text
from ..report import Report
from .accuracy import GuardedModel

if TYPE_CHECKING:
    import plotly.graph_objects as go

MEASURED, COMPILED, UNVERIFIED = "measured", "compiled", "unverified"


@dataclass(frozen=True)
class ReportLine:
    """A line of the deployment report.

    Attributes:
        what: the key of its label in the message catalog, as in `deploy.line_...`.
        status: `MEASURED` (on this machine), `COMPILED` (but not run), or `UNVERIFIED`.
        value, unit, note: the value with its unit and a remark, if any.
        low, high: the ends of the 95% interval for `value`, which is a median.
        source: the baseline for the comparison, "PyTorch" or the name of an .onnx file.
    """

    what: str
    status: str
    value: float | None = None
    unit: str = ""
    note: str = ""
    low: float | None = None
    high: float | None = None
    source: str = "PyTorch"

    @property
    def words(self) -> str:
        """The label of the line."""
        return text(f"deploy.line_{self.what}", source=self.source)

    @property
    def quantity(self) -> str:
        """The value with its unit and range, or an empty string if there is none."""
        if self.value is None:
            return ""
        spread = "" if self.low is None else f" ({self.low:.4g}–{self.high:.4g})"
        return f"{self.value:.4g} {self.unit}".rstrip() + spread

    def __str__(self) -> str:
        value = f": {self.quantity}" if self.quantity else ""
        note = f" ({self.note})" if self.note else ""
        return f"{self.words}{value} [{text(f'deploy.{self.status}')}]{note}"


@dataclass(frozen=True)
class Deployment(Report):
    """A model that is ready to run on a target.

    Attributes:
        target: the name of the target.
        model: the class name or the file name of the original model.
        folder: the output folder.
        lines: the report, which shows what was measured here, only compiled, or not
            verified.
        guard: the result of the accuracy guard; None unless the precision is INT8.
        files: the size in bytes of each file in the folder.

    >>> import torch
    >>> from deepseek_learn import DeploymentWizard
    >>> wizard = DeploymentWizard(torch.nn.Linear(16, 4), torch.rand(1, 16))
    >>> deployment = wizard.to("openvino", "deployed", precision="fp32")
    >>> deployment.precision, "model.onnx" in deployment.files
    ('fp32', True)
    """

    target: str
    model: str
    folder: Path
    precision: str
    batch: int
    lines: tuple[ReportLine, ...]
    guard: GuardedModel | None
    files: dict[str, int]

    def __getitem__(self, what: str) -> float | None:
        """Return the value of a line, such as `deployment["speedup"]`, or None."""
        line = self.line(what)
        return None if line is None else line.value

    def line(self, what: str) -> ReportLine | None:
        """Return a line, such as `deployment.line("speedup")`, or None."""
        return next((line for line in self.lines if line.what == what), None)

    @property
    def source(self) -> str:
        """The baseline for the comparison, "PyTorch" or the name of the .onnx file."""
        line = self.line("size_before")
        assert line is not None  # every report has this line
        return line.source

    def to_frame(self) -> pd.DataFrame:
        """Return one row per line, with its value, interval, unit, status and note."""
        rows = [
            {
                "value": line.value,
                "low": line.low,
                "high": line.high,
                "unit": line.unit,
                "status": text(f"deploy.{line.status}"),
                "note": line.note,
            }
            for line in self.lines
        ]
        index = pd.Index([line.words for line in self.lines])
        frame = pd.DataFrame(rows, index=index.rename(self.target))
        return frame.astype({"value": float, "low": float, "high": float})

    def plot(self) -> "go.Figure":
        """Plot the latency and size of the original and the deployed model (plotly)."""
        from plotly.subplots import make_subplots

        pairs = {
            text("deploy.latency_axis"): ("latency_eager", "latency"),
            text("deploy.size_axis"): ("size_before", "size"),
        }
        figure = make_subplots(1, 2, subplot_titles=list(pairs))
        names = [self.source, f"{self.target} {self.precision}"]
        for column, (before, after) in enumerate(pairs.values(), 1):
            values = [self[before], self[after]]
            colors = ["#9ecae9", "#4c78a8"]
            figure.add_bar(
                x=names,
                y=values,
                marker_color=colors,
                text=[f"{v:.3g}" if v is not None else "" for v in values],
                row=1,
                col=column,
            )
        return figure.update_layout(
            template="plotly_white", showlegend=False, height=360
        )

    def why(self) -> str:
        summary = text(
            "deploy.done",
            target=self.target,
            model=self.model,
            precision=self.precision,
            size=self["size"],
            before=self["size_before"],
            source=self.source,
        )
        if unpacked := self.line("unpacked"):
            summary += " " + text(
                "deploy.unpacked",
                count=unpacked.value,
                precision=self.precision,
                bytes=unpacked.note,
            )
        if speedup := self.line("speedup"):
            summary += " " + text(
                "deploy.faster",
                ratio=speedup.value,
                low=speedup.low,
                high=speedup.high,
                source=self.source,
            )
        if self.guard:
            summary += " " + self.guard.why()
        unverified = [line.words for line in self.lines if line.status == UNVERIFIED]
        if unverified:
            labels = "; ".join(unverified)
            summary += " " + text("deploy.open", what=labels)
        return summary

    def _repr_html_(self) -> str:
        return super()._repr_html_().replace("<td>NaN</td>", "<td></td>")

    def save(self, path: Path) -> None:
        """Write the report to `path` as JSON."""
        facts = {
            key: getattr(self, key) for key in ("target", "model", "precision", "batch")
        }
        facts |= {"files": self.files, "lines": [asdict(line) for line in self.lines]}
        if self.guard:
            facts["guard"] = {
                "in_float": self.guard.in_float,
                "attempts": self.guard.attempts.reset_index().to_dict("records"),
                "sensitivity": self.guard.errors,
            }
        path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def markdown(lines: Iterable[ReportLine]) -> str:
    """Return the report as a Markdown table, for use in a README."""
    rows = ["| | | | |", "|---|---|---|---|"]
    for line in lines:
        cells = (line.words, line.quantity, text(f"deploy.{line.status}"), line.note)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows)
