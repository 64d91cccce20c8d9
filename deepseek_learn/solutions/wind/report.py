"""What watching a farm leaves behind: a table, a plot and an HTML page."""

import html
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pandas as pd

from ...catalog import text
from ...files import atomic_write
from ..page import GREEN, RED, VerdictReport, picture
from .monitor import BLOCK, PER_DAY, deviations, stuck
from .power import LOAD, STOPPED
from .watch import Watched

if TYPE_CHECKING:
    import plotly.graph_objects as go

WEEK = 7 * PER_DAY  # blocks
JUDGED = 0.5  # of the watched time, below which a turbine without alarm is refused
STYLE = f"""
.clear {{ color: {GREEN}; }}
.alarm {{ color: {RED}; }}
"""


@dataclass(frozen=True)
class Watch(VerdictReport):
    """The alarms of a farm.

    Attributes:
        verdicts: one per turbine, as in `verdicts.jsonl`: `verdict` ("alarm", "clear" or
            "refused"), `alarms`, in what part of the watched time it could be `judged`,
            why not in the rest, and a `picture`.
        watched: the figures behind them.
    """

    watched: Watched = field(repr=False)
    name: ClassVar[str] = "wind"
    order: ClassVar[tuple[str, ...]] = ("alarm", "clear", "refused")
    style: ClassVar[str] = STYLE

    def ranked(self) -> list[dict[str, Any]]:
        """Return the verdicts in the order of the turbines."""
        return self.verdicts

    def to_frame(self) -> pd.DataFrame:
        """Return one row per alarm."""
        rows = [alarm for verdict in self.verdicts for alarm in verdict["alarms"]]
        columns = ["turbine", "time", "deviation", "score", "days", "reason"]
        return pd.DataFrame(rows, columns=columns)

    def plot(self) -> "go.Figure":
        """Plot each turbine's yield of seven days against its neighbors'."""
        import plotly.graph_objects as go

        days, deviation = weekly(self.watched)
        figure = go.Figure()
        for turbine, row in zip(self.watched.scada.turbines, deviation, strict=True):
            figure.add_scatter(x=days, y=100 * row, name=turbine, mode="lines")
        return figure.update_layout(
            yaxis_title=text("wind.deviation") + " (%)", template="plotly_white"
        )

    def why(self) -> str:
        """Return how many alarms there are, and what cannot be seen."""
        watched = self.watched
        return text(
            "wind.why",
            turbines=len(self.verdicts),
            days=(len(watched.scada) - watched.start) // 144,
            start=str(watched.scada.time[watched.start])[:10],
            alarms=len(watched.alarms),
            refused=self.counts()["refused"],
        )

    def head(self) -> str:
        """Return what the reader of the records repaired."""
        notes = map(html.escape, self.watched.scada.warnings)
        return f"<ul>{''.join(f'<li>{note}</li>' for note in notes)}</ul>"

    def entry(self, row: dict[str, Any]) -> str:
        """Return the alarms, the time without verdict, and the picture."""
        alarms = "".join(
            f'<p class="alarm">{html.escape(reason(alarm))}</p>'
            for alarm in row["alarms"]
        )
        lost = {key: row[key] for key in ("stopped", "stuck", "absent")}
        alt = f"{row['name']}: {text('wind.deviation')}"
        return (
            f"{alarms}<p>{html.escape(text('wind.stopped', **lost))}</p>"
            f"{picture(row, 'picture', alt)}"
        )


def lost_time(watched: Watched, i: int) -> dict[str, float]:
    """Return the parts of the watched time in which a turbine could not be compared."""
    scada, span = watched.scada, slice(watched.start, None)
    power, expected = scada.power[i, span], watched.expected_kw[i, span]
    with np.errstate(invalid="ignore"):
        windy = expected > LOAD * scada.rated_kw
        stopped = windy & (power <= STOPPED * expected)
    return {
        "stopped": float(stopped.mean()),
        "stuck": float(stuck(scada.wind[i : i + 1, span]).mean()),
        "absent": float(np.isnan(power).mean()),
    }


def weekly(watched: Watched) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the watched blocks and the deviations over a week, `[N, K]`."""
    deviation, _ = deviations(watched.energy, WEEK)
    first = -(-watched.start // BLOCK)
    ends = watched.scada.time[BLOCK - 1 :: BLOCK][: deviation.shape[1]]
    return ends[first:], np.expm1(deviation[:, first:])


def save_picture(
    path: Path, watched: Watched, i: int, week: tuple[np.ndarray, np.ndarray]
) -> None:
    """Draw the weekly deviation of a turbine, the limits, and its alarms.

    Args:
        week: what `weekly` returns.
    """
    from matplotlib.figure import Figure

    days, deviation = week
    limit = watched.detector.limits[WEEK] * watched.detector.spreads[WEEK][i]
    figure = Figure((8, 2.2), layout="constrained")
    axes = figure.subplots()
    axes.axhspan(-100 * limit, 100 * limit, color="#8883")
    axes.plot(days, 100 * deviation[i], color="#1f5fa8", linewidth=1)
    for alarm in watched.alarms:
        if alarm.turbine == watched.scada.turbines[i]:
            when = np.datetime64(alarm.time)
            axes.axvline(when, color="#d1495b")  # type: ignore[arg-type]
    axes.set_ylabel("%")
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        figure.savefig(file, dpi=110, format="png")


def reason(alarm: dict[str, Any]) -> str:
    """Return an alarm as a sentence in the current language."""
    facts = alarm | {"reason": text(f"wind.{alarm['reason']}")}
    return text("wind.raised", **facts)
