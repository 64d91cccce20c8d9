"""What a screening leaves behind: a table, a plot and an HTML page."""

import html
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from ...catalog import text
from ..page import GREEN, RED, VerdictReport, picture

if TYPE_CHECKING:
    import plotly.graph_objects as go

STYLE = f"""
.clear {{ color: {GREEN}; }}
.suspicious {{ color: {RED}; }}
"""


@dataclass(frozen=True)
class Screening(VerdictReport):
    """The verdicts on all scans.

    Attributes:
        verdicts: one per scan, as in `verdicts.jsonl`: `verdict` ("suspicious", "clear" or
            "refused"), `findings`, each with its `picture`, and the files in `dicom`.
        threshold: the probability from which a finding was reported.
        rate: the false findings per scan that this threshold gave on phantoms.
    """

    threshold: float
    rate: float
    name: ClassVar[str] = "nodules"
    order: ClassVar[tuple[str, ...]] = ("suspicious", "refused", "clear")
    style: ClassVar[str] = STYLE

    def to_frame(self) -> pd.DataFrame:
        """Return one row per finding, and one per scan without findings."""
        rows = []
        for verdict in self.verdicts:
            scan = {"scan": verdict["name"], "verdict": verdict["verdict"]}
            found = [scan | finding for finding in verdict.get("findings", ())]
            rows += found or [scan | {"reason": verdict.get("reason")}]
        return pd.DataFrame(rows)

    def plot(self) -> "go.Figure":
        """Plot the diameter and the probability of each finding."""
        import plotly.graph_objects as go

        found = [f for v in self.verdicts for f in v.get("findings", ())]
        figure = go.Figure()
        figure.add_scatter(
            x=[each["diameter_mm"] for each in found],
            y=[each["probability"] for each in found],
            mode="markers",
        )
        return figure.update_layout(
            xaxis_title=text("nodules.diameter"),
            yaxis_title=text("nodules.probability"),
            template="plotly_white",
        )

    def why(self) -> str:
        """Return how many scans have each verdict, and what the threshold means."""
        facts = {"threshold": self.threshold, "rate": self.rate, **self.counts()}
        summary = text("nodules.why", scans=len(self.verdicts), **facts)
        return summary + " " + text("nodules.not_for")

    def entry(self, row: dict[str, Any]) -> str:
        """Return the findings with their pictures."""
        return "".join(map(_finding, row.get("findings", ())))


def _finding(finding: dict[str, Any]) -> str:
    """Return the HTML of a finding."""
    low, high = finding["diameters_mm"]
    words = text(
        "nodules.finding",
        diameter=finding["diameter_mm"],
        probability=finding["probability"],
        low=low,
        high=high,
        **dict(zip("xyz", finding["center_mm"], strict=True)),
    )
    return f"<p>{html.escape(words)}<br>{picture(finding, 'picture', words)}</p>"
