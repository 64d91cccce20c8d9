"""What a screening leaves behind: a table, a plot and an HTML page."""

import html
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...catalog import text
from ...report import Report
from ..page import GREEN, RED, YELLOW, save_page

if TYPE_CHECKING:
    import plotly.graph_objects as go

STYLE = f"""
body {{ max-width: 60rem; }}
section {{ border-top: 1px solid #8886; padding: .5rem 0; overflow-wrap: anywhere; }}
img {{ max-width: 100%; height: auto; }}
ul, .refused {{ color: {YELLOW}; }}
.warning {{ font-weight: bold; border: 2px solid; padding: .5rem; }}
.clear {{ color: {GREEN}; }}
.suspicious {{ color: {RED}; }}
"""


@dataclass(frozen=True)
class Screening(Report):
    """The verdicts on all scans.

    Attributes:
        verdicts: the last verdict on each scan, as in `verdicts.jsonl`.
        threshold: the probability from which a finding was reported.
        rate: the false findings per scan that this threshold gave on phantoms.
    """

    verdicts: list[dict[str, Any]] = field(repr=False)
    threshold: float
    rate: float

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
        counts = Counter(verdict["verdict"] for verdict in self.verdicts)
        sentences = text(
            "nodules.why",
            scans=len(self.verdicts),
            suspicious=counts["suspicious"],
            clear=counts["clear"],
            refused=counts["refused"],
            threshold=self.threshold,
            rate=self.rate,
        )
        return sentences + " " + text("nodules.warning")

    def save(self, out: Path) -> Path:
        """Write the page `index.html` to the folder and return its path."""
        order = {"suspicious": 0, "refused": 1, "clear": 2}
        ranked = sorted(self.verdicts, key=lambda v: order[v["verdict"]])
        body = (
            f'<p class="warning">{html.escape(text("nodules.warning"))}</p>'
            f"<p>{html.escape(self.why())}</p>{''.join(map(_scan, ranked))}"
        )
        return save_page(out, text("nodules.title"), body, STYLE, self.verdicts)


def _scan(verdict: dict[str, Any]) -> str:
    """Return the HTML of one scan: its verdict, its findings and the reader's remarks."""
    kind = verdict["verdict"]
    parts = [
        f"<section><h2>{html.escape(verdict['name'])}</h2>"
        f'<p><strong class="{kind}">{html.escape(text(f"nodules.{kind}"))}</strong> '
        f"{html.escape(verdict.get('reason', ''))}</p>"
    ]
    for finding in verdict.get("findings", ()):
        x, y, z = finding["center_mm"]
        low, high = finding["diameters_mm"]
        words = text(
            "nodules.finding",
            diameter=finding["diameter_mm"],
            probability=finding["probability"],
            low=low,
            high=high,
            x=x,
            y=y,
            z=z,
        )
        source = html.escape(finding["picture"], quote=True)
        parts.append(
            f'<p>{html.escape(words)}<br><img loading="lazy" src="{source}" '
            f'alt="{html.escape(words, quote=True)}"></p>'
        )
    remarks = "".join(f"<li>{html.escape(r)}</li>" for r in verdict.get("warnings", ()))
    return "".join(parts) + (f"<ul>{remarks}</ul>" if remarks else "") + "</section>"
