"""What reading recordings leaves behind: a table, a plot and an HTML page."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from ...catalog import text
from ...files import atomic_write
from ..page import VerdictReport, picture
from .hapt import ACTIVITIES, CLASSES

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLORS = ("#1f77b4", "#17a2b8", "#5b4fcf", "#e08a1e", "#2e9e5b", "#8c6d62")
TRANSITION = "#d1495b"
STYLE = """
table { border-collapse: collapse; }
td, th { padding: .1rem .8rem .1rem 0; text-align: left; }
td + td { text-align: right; }
"""


@dataclass(frozen=True)
class Movements(VerdictReport):
    """The movements in several recordings.

    Attributes:
        verdicts: one per recording, as in `verdicts.jsonl`: `verdict` ("read" or
            "refused"), `seconds` per movement, `movements` (start, stop, which), the part
            of the windows that is `unsure`, and a `picture`.
    """

    name: ClassVar[str] = "movement"
    order: ClassVar[tuple[str, ...]] = ("read", "refused")
    style: ClassVar[str] = STYLE

    def to_frame(self) -> pd.DataFrame:
        """Return the seconds of each movement, one row per recording that was read."""
        rows = {row["name"]: row["seconds"] for row in self.judged()}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=None)
        return frame.reindex(columns=list(CLASSES)).fillna(0.0)

    def plot(self) -> "go.Figure":
        """Plot the minutes of each movement per recording."""
        import plotly.graph_objects as go

        frame, figure = self.to_frame() / 60, go.Figure()
        for place, label in enumerate(CLASSES):
            figure.add_bar(
                x=frame.index, y=frame[label], name=text(f"movement.{_key(label)}"),
                marker_color=_color(place),
            )  # fmt: skip
        return figure.update_layout(
            barmode="stack",
            yaxis_title=text("movement.minutes"),
            template="plotly_white",
        )

    def why(self) -> str:
        """Return how much was read, and what the network cannot know."""
        minutes = sum(sum(row["seconds"].values()) for row in self.judged()) / 60
        return text("movement.why", minutes=minutes, **self.counts())

    def detail(self, row: dict[str, Any]) -> str:
        """Return how often the network was unsure."""
        return text("movement.unsure", part=row["unsure"])

    def entry(self, row: dict[str, Any]) -> str:
        """Return the time of each movement, and the picture."""
        cells = "".join(
            f"<tr><td>{html.escape(text(f'movement.{_key(label)}'))}</td>"
            f"<td>{_time(seconds)}</td></tr>"
            for label, seconds in row.get("seconds", {}).items()
        )
        table = f"<table>{cells}</table>" if cells else ""
        return table + picture(row, "picture", row["name"])


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def _key(label: str) -> str:
    return label.replace(" ", "_")


def _color(place: int) -> str:
    return COLORS[place] if place < ACTIVITIES else TRANSITION


def save_picture(path: Path, movements: Sequence[Sequence[Any]]) -> None:
    """Draw which movement was seen when, one line per activity and one for transitions.

    Args:
        movements: start and stop in seconds, and which.
    """
    from matplotlib.figure import Figure

    figure = Figure((9, 2.1), layout="constrained")
    axes = figure.subplots()
    for start, stop, label in movements:
        place = CLASSES.index(label)
        line = min(place, ACTIVITIES)
        axes.barh(
            line, (stop - start) / 60, left=start / 60, height=0.8, color=_color(place)
        )
    names = [*CLASSES[:ACTIVITIES], "transition"]
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("min", fontsize=8)
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, dpi=110, format="png")
