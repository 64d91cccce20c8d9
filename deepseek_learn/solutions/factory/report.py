"""What an inspection leaves behind: overlays, a table, a plot and an HTML page."""

import html
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from PIL import Image

from ...catalog import text
from ...files import atomic_write
from ...report import Report
from ..page import GREEN, RED, YELLOW, save_page
from .alarms import Alarm

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = 200  # the page shows at most this many parts of each verdict
BINS = 40  # of the scores, in the plot
COLORS = {"good": "#1a7f4b", "defective": "#b3261e"}  # in the plot
STYLE = f"""
ul {{ display: grid; gap: 1rem; padding: 0; list-style: none;
     grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }}
li {{ border: 1px solid #8886; border-radius: .5rem; padding: .5rem;
     overflow-wrap: anywhere; }}
img {{ width: 100%; height: auto; }}
.good {{ color: {GREEN}; }}
.defective {{ color: {RED}; }}
.unreadable {{ color: {YELLOW}; }}
"""


@dataclass(frozen=True)
class Inspection(Report):
    """The verdicts on all parts.

    Attributes:
        verdicts: the last verdict on each part, as in `verdicts.jsonl`, in the order in
            which they were given.
        alarm: the threshold and the promised rate of false alarms.
    """

    verdicts: list[dict[str, Any]] = field(repr=False)
    alarm: Alarm

    def count(self, verdict: str) -> int:
        """Return the number of parts with this verdict."""
        return Counter(each["verdict"] for each in self.verdicts)[verdict]

    def drift(self) -> list[str]:
        """Return the statistics that had drifted when the last part was judged.

        An alarm that ended before is in `verdicts`, and `why` mentions it.
        """
        followed = [each["drift"] for each in self.verdicts if "drift" in each]
        return followed[-1] if followed else []

    def ranked(self) -> list[dict[str, Any]]:
        """Return the verdicts, unreadable parts first, then the most anomalous first."""
        return sorted(self.verdicts, key=lambda v: -v.get("score", float("inf")))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per part, in the order of `ranked`."""
        columns = ["verdict", "score", "threshold", "ms", "reason"]
        ranked = self.ranked()
        rows = [{c: each.get(c) for c in columns} for each in ranked]
        return pd.DataFrame(rows, [each["name"] for each in ranked], columns)

    def plot(self) -> "go.Figure":
        """Plot the scores of all parts, with the threshold."""
        import plotly.graph_objects as go

        scores = [v["score"] for v in self.verdicts if "score" in v]
        bins = np.histogram_bin_edges(scores or [0.0], BINS)
        width = bins[1] - bins[0]
        figure = go.Figure()
        for verdict in ("good", "defective"):
            figure.add_histogram(
                x=[v["score"] for v in self.verdicts if v["verdict"] == verdict],
                xbins={"start": bins[0], "end": bins[-1] + width, "size": width},
                name=text(f"factory.{verdict}"),
                marker_color=COLORS[verdict],
            )
        figure.add_vline(self.alarm.threshold, line_dash="dash")
        return figure.update_layout(
            barmode="stack",
            xaxis_title=text("factory.score"),
            yaxis_title=text("factory.parts"),
        )

    def why(self) -> str:
        sentences = text(
            "factory.why",
            parts=len(self.verdicts),
            defective=self.count("defective"),
            unreadable=self.count("unreadable"),
            alarm=self.alarm,
        )
        if names := self.drift():
            words = ", ".join(text(f"factory.{name}") for name in names)
            return f"{sentences} {text('factory.drift', names=words)}"
        alarms = [each for each in self.verdicts if each.get("drift")]
        if alarms:
            first, last = alarms[0]["name"], alarms[-1]["name"]
            facts = {"count": len(alarms), "first": first, "last": last}
            return f"{sentences} {text('factory.drifted', **facts)}"
        return sentences

    def save(self, out: Path) -> Path:
        """Write the page `index.html` to the folder and return its path.

        Of each verdict, the page shows up to 200 parts, and says so if there are more.
        """
        entries, counts = [], Counter[str]()
        for each in self.ranked():
            counts[each["verdict"]] += 1
            if counts[each["verdict"]] <= SHOWN:
                entries.append(each)
        items, sentences = "".join(map(_item, entries)), self.why()
        if len(entries) < len(self.verdicts):
            count, parts = len(entries), len(self.verdicts)
            sentences += " " + text("factory.page", count=count, parts=parts)
        body = f"<p>{html.escape(sentences)}</p><ul>{items}</ul>"
        return save_page(out, text("factory.title"), body, STYLE, self.verdicts)


def _item(verdict: dict[str, Any]) -> str:
    """Return the HTML of one part: its overlay, its verdict and its name."""
    kind = verdict["verdict"]
    words = html.escape(text(f"factory.{kind}"))
    detail = verdict.get("reason") or f"{verdict['score']:.3g}"
    image = ""
    if verdict.get("overlay"):
        source = html.escape(verdict["overlay"], quote=True)
        image = f'<img loading="lazy" alt="{words}" src="{source}">'
    return (
        f'<li>{image}<strong class="{kind}">{words}</strong> '
        f"{html.escape(detail)}<br>{html.escape(verdict['name'])}</li>"
    )


def save_overlay(
    path: Path, pixels: np.ndarray, anomaly: np.ndarray, threshold: float
) -> None:
    """Save the part as an image, with everything above the threshold tinted red.

    Args:
        pixels: the part, of shape `[H, W]` with values from 0 to 1.
        anomaly: the anomaly map, of the same shape.
    """
    above = np.clip(anomaly / max(threshold, 1e-12) - 1, 0, 1)[..., None]
    tint = np.where(above > 0, 0.35 + 0.3 * above, 0)
    gray = np.repeat(pixels[..., None], 3, 2)
    color = gray * (1 - tint) + np.array([1.0, 0.15, 0.1]) * tint
    with atomic_write(path) as temporary:
        image = Image.fromarray((255 * color.clip(0, 1)).round().astype("uint8"))
        image.save(temporary, format="PNG", compress_level=1)
