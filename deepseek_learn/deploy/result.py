"""What the wizard answers with: the folder it wrote, and what is known of it."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ..catalogue import text
from ..report import Report
from .accuracy import Guarded

MEASURED, COMPILED, UNVERIFIED = "measured", "compiled", "unverified"


@dataclass(frozen=True)
class Line:
    """One line of the report.

    Attributes:
        what: key of its words in the catalogue, `deploy.line_...`.
        status: `MEASURED` here, `COMPILED` only, or `UNVERIFIED`.
    """

    what: str
    status: str
    value: float | None = None
    unit: str = ""
    note: str = ""

    def __str__(self) -> str:
        value = "" if self.value is None else f": {self.value:.4g} {self.unit}".rstrip()
        note = f" ({self.note})" if self.note else ""
        status = text(f"deploy.{self.status}")
        return f"{text(f'deploy.line_{self.what}')}{value} [{status}]{note}"


@dataclass(frozen=True)
class Deployment(Report):
    """A model, ready to run on `target`, in `folder`.

    Attributes:
        model: class of the model that it was.
        lines: what was measured here, only compiled, or not verified.
        guarded: how INT8 was guarded; None for another precision.
        files: file in the folder → bytes.
    """

    target: str
    model: str
    folder: Path
    precision: str
    batch: int
    lines: tuple[Line, ...]
    guarded: Guarded | None
    files: dict[str, int]

    def __getitem__(self, what: str) -> float | None:
        """The value of a line, such as `deployment["speedup"]`; None if there is none."""
        return next((line.value for line in self.lines if line.what == what), None)

    def to_frame(self) -> pd.DataFrame:
        """One row a line: value, unit, status, note."""
        rows = [
            {
                "value": line.value,
                "unit": line.unit,
                "status": text(f"deploy.{line.status}"),
                "note": line.note,
            }
            for line in self.lines
        ]
        index = pd.Index([text(f"deploy.line_{line.what}") for line in self.lines])
        return pd.DataFrame(rows, index=index.rename(self.target))

    def plot(self):
        """Latency and size beside PyTorch's (plotly)."""
        from plotly.subplots import make_subplots

        pairs = {
            text("deploy.latency_axis"): ("latency_eager", "latency"),
            text("deploy.size_axis"): ("size_before", "size"),
        }
        figure = make_subplots(1, 2, subplot_titles=list(pairs))
        names = ["PyTorch", f"{self.target} {self.precision}"]
        for column, (before, after) in enumerate(pairs.values(), 1):
            values = [self[before], self[after]]
            colours = ["#9ecae9", "#4c78a8"]
            figure.add_bar(
                x=names,
                y=values,
                marker_color=colours,
                text=[f"{v:.3g}" if v is not None else "" for v in values],
                row=1,
                col=column,
            )
        return figure.update_layout(
            template="plotly_white", showlegend=False, height=360
        )

    def why(self) -> str:
        said = text(
            "deploy.done",
            target=self.target,
            model=self.model,
            precision=self.precision,
            size=self["size"],
            before=self["size_before"],
        )
        if self["speedup"] is not None:
            said += " " + text("deploy.faster", ratio=self["speedup"])
        if self.guarded:
            said += " " + self.guarded.why()
        unproven = [line.what for line in self.lines if line.status == UNVERIFIED]
        if unproven:
            what = "; ".join(text(f"deploy.line_{each}") for each in unproven)
            said += " " + text("deploy.open", what=what)
        return said

    def _repr_html_(self) -> str:
        return super()._repr_html_().replace("<td>NaN</td>", "<td></td>")

    def save(self, path: Path) -> None:
        """The report as JSON."""
        facts = {
            key: getattr(self, key) for key in ("target", "model", "precision", "batch")
        }
        facts |= {"files": self.files, "lines": [asdict(line) for line in self.lines]}
        if self.guarded:
            facts["guarded"] = {
                "in_float": self.guarded.in_float,
                "tried": self.guarded.tried.reset_index().to_dict("records"),
                "sensitivity": self.guarded.errors,
            }
        path.write_text(json.dumps(facts, indent=1, ensure_ascii=False) + "\n")


def markdown(frame: pd.DataFrame) -> str:
    """The report's table for a README."""
    rows = ["| | | | |", "|---|---|---|---|"]
    for what, row in frame.iterrows():
        value = "" if pd.isna(row["value"]) else f"{row['value']:.4g} {row['unit']}"
        cells = (what, value.strip(), row["status"], row["note"])
        rows.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(rows)
