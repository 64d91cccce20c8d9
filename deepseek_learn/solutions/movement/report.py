"""What reading recordings leaves behind: a table, a plot and an HTML page."""

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...catalog import text
from ...files import atomic_write
from ...report import Report
from ..page import RED, save_page
from .hapt import ACTIVITIES, CLASSES

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLORS = ("#1f77b4", "#17a2b8", "#5b4fcf", "#e08a1e", "#2e9e5b", "#8c6d62")
TRANSITION = "#d1495b"
STYLE = f"""
section {{ border-top: 1px solid #8886; padding: .5rem 0; }}
img {{ max-width: 100%; height: auto; }}
table {{ border-collapse: collapse; }}
td, th {{ padding: .1rem .8rem .1rem 0; text-align: left; }}
td + td {{ text-align: right; }}
.refused {{ color: {RED}; }}
"""


@dataclass(frozen=True)
class Movements(Report):
    """The movements in several recordings.

    Attributes:
        verdicts: one per recording, as in `verdicts.jsonl`: `name`, `verdict` ("read" or
            "refused"), `seconds` per movement, `movements` (start, stop, which), the part
            of the windows that is `unsure`, and the reader's `warnings`; or the `reason`.
    """

    verdicts: list[dict[str, Any]] = field(repr=False)

    def to_frame(self) -> pd.DataFrame:
        """Return the seconds of each movement, one row per recording that was read."""
        rows = {row["name"]: row["seconds"] for row in self._read()}
        frame = pd.DataFrame.from_dict(rows, orient="index", columns=None)
        return frame.reindex(columns=list(CLASSES)).fillna(0.0)

    def _read(self) -> list[dict[str, Any]]:
        return [row for row in self.verdicts if row["verdict"] == "read"]

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
        read = self._read()
        minutes = sum(sum(row["seconds"].values()) for row in read) / 60
        refused = len(self.verdicts) - len(read)
        return text("movement.why", read=len(read), minutes=minutes, refused=refused)

    def save(self, out: Path) -> Path:
        """Write a picture per recording and `index.html`, and return its path."""
        out.mkdir(parents=True, exist_ok=True)
        body = f"<p>{html.escape(self.why())}</p>"
        for number, row in enumerate(self.verdicts, 1):
            name = f"recording_{number}.png"
            if row["verdict"] == "read":
                _save_picture(out / name, row)
            body += _section(row, name)
        return save_page(out, text("movement.title"), body, STYLE, self.verdicts)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 60 else f"{seconds / 60:.1f} min"


def _key(label: str) -> str:
    return label.replace(" ", "_")


def _color(place: int) -> str:
    return COLORS[place] if place < ACTIVITIES else TRANSITION


def _save_picture(path: Path, row: dict[str, Any]) -> None:
    """Draw which movement was seen when, one line per activity and one for transitions."""
    from matplotlib.figure import Figure

    figure = Figure((9, 2.1), layout="constrained")
    axes = figure.subplots()
    for start, stop, label in row["movements"]:
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


def _section(row: dict[str, Any], picture: str) -> str:
    name = html.escape(row["name"])
    if row["verdict"] == "refused":
        reason = html.escape(row["reason"])
        return f'<section><h2>{name}</h2><p class="refused">{reason}</p></section>'
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in row["warnings"])
    cells = "".join(
        f"<tr><td>{html.escape(text(f'movement.{_key(label)}'))}</td>"
        f"<td>{_time(seconds)}</td></tr>"
        for label, seconds in row["seconds"].items()
    )
    unsure = html.escape(text("movement.unsure", part=row["unsure"]))
    return (
        f"<section><h2>{name}</h2><p>{unsure}</p><ul>{notes}</ul><table>{cells}</table>"
        f'<img loading="lazy" src="{picture}" alt="{name}"></section>'
    )
