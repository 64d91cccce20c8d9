"""What an inspection leaves behind: overlays, a table, a plot and an HTML page."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd
from PIL import Image

from ...catalog import text
from ...files import atomic_write
from ..page import GREEN, RED, VerdictReport, picture
from .alarms import Alarm

if TYPE_CHECKING:
    import plotly.graph_objects as go

BINS = 40  # of the scores, in the plot
COLORS = {"good": "#1a7f4b", "defective": "#b3261e"}  # in the plot
STYLE = f"""
main {{ display: grid; gap: 1rem;
       grid-template-columns: repeat(auto-fill, minmax(14rem, 1fr)); }}
section {{ border: 1px solid #8886; border-radius: .5rem; padding: .5rem; }}
section img {{ width: 100%; }}
.good {{ color: {GREEN}; }}
.defective {{ color: {RED}; }}
"""


@dataclass(frozen=True)
class Inspection(VerdictReport):
    """The verdicts on all parts.

    Attributes:
        verdicts: one per part, as in `verdicts.jsonl`: `verdict` ("good", "defective" or
            "refused"), `score`, `threshold`, the part's statistics, those that had drifted
            (`drift`), the time in `ms`, and its `overlay`.
        alarm: the threshold and the promised false-alarm rate.
    """

    alarm: Alarm
    name: ClassVar[str] = "factory"
    order: ClassVar[tuple[str, ...]] = ("refused", "defective", "good")
    style: ClassVar[str] = STYLE

    def count(self, verdict: str) -> int:
        """Return the number of parts with this verdict."""
        return self.counts()[verdict]

    def drift(self) -> list[str]:
        """Return the statistics that had drifted when the last part was judged.

        An alarm that ended before is in `verdicts`, and `why` mentions it.
        """
        followed = [each["drift"] for each in self.verdicts if "drift" in each]
        return followed[-1] if followed else []

    def ranked(self) -> list[dict[str, Any]]:
        """Return the verdicts, refused parts first, then the most anomalous first."""
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
        """Return how many parts are defective, and whether the photographs drifted."""
        counts = {"parts": len(self.verdicts), "alarm": self.alarm, **self.counts()}
        summary = text("factory.why", **counts)
        if names := self.drift():
            words = ", ".join(text(f"factory.{name}") for name in names)
            return f"{summary} {text('factory.drift', names=words)}"
        alarms = [each for each in self.verdicts if each.get("drift")]
        if alarms:
            first, last = alarms[0]["name"], alarms[-1]["name"]
            facts = {"count": len(alarms), "first": first, "last": last}
            return f"{summary} {text('factory.drifted', **facts)}"
        return summary

    def detail(self, row: dict[str, Any]) -> str:
        """Return the score."""
        return f"{row['score']:.3g}"

    def entry(self, row: dict[str, Any]) -> str:
        """Return the overlay."""
        return picture(row, "overlay", self.label(row))


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
