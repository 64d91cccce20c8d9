"""What watching a farm leaves behind: a table, a plot and an HTML page."""

import html
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...catalog import text
from ...files import atomic_write
from ...report import Report
from ..page import GREEN, RED, YELLOW, save_page
from ..verdicts import Provenance
from .monitor import BLOCK, PER_DAY, deviations, stuck
from .power import LOAD, STOPPED
from .watch import Watched

if TYPE_CHECKING:
    import plotly.graph_objects as go

WEEK = 7 * PER_DAY  # blocks
JUDGED = 0.5  # of the watched time, in which a turbine without alarm is "clear"
STYLE = f"""
section {{ border-top: 1px solid #8886; padding: .5rem 0; }}
img {{ max-width: 100%; height: auto; }}
.clear {{ color: {GREEN}; }}
.alarm {{ color: {RED}; }}
.unjudged {{ color: {YELLOW}; }}
"""


@dataclass(frozen=True)
class Watch(Report):
    """The alarms of a farm.

    Attributes:
        verdicts: one per turbine, as in `verdicts.jsonl`: `name`, `verdict` ("alarm",
            "clear" or "unjudged"), `alarms`, in what part of the watched time it could be
            judged, and why not in the rest.
        watched: the figures behind them.
    """

    verdicts: list[dict[str, Any]] = field(repr=False)
    watched: Watched = field(repr=False)

    @classmethod
    def of(cls, watched: Watched, **options: Any) -> "Watch":
        """Return the verdicts on all turbines, with the options that they were given."""
        rows, provenance = [], Provenance(watched.model, options)
        for i, turbine in enumerate(watched.scada.turbines):
            own = [a.to_dict() for a in watched.alarms if a.turbine == turbine]
            clear = "clear" if watched.judged[i] >= JUDGED else "unjudged"
            verdict: dict[str, Any] = {"name": turbine}
            verdict["verdict"] = "alarm" if own else clear
            verdict |= {"alarms": own, "judged": float(watched.judged[i])}
            rows.append(provenance.stamp(verdict | _lost_time(watched, i)))
        return cls(rows, watched)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per alarm."""
        rows = [alarm for verdict in self.verdicts for alarm in verdict["alarms"]]
        columns = ["turbine", "time", "deviation", "score", "days", "reason"]
        return pd.DataFrame(rows, columns=columns)

    def plot(self) -> "go.Figure":
        """Plot each turbine's yield of seven days against its neighbors'."""
        import plotly.graph_objects as go

        days, deviation = _weekly(self.watched)
        figure = go.Figure()
        for turbine, row in zip(self.watched.scada.turbines, deviation, strict=True):
            figure.add_scatter(x=days, y=100 * row, name=turbine, mode="lines")
        return figure.update_layout(
            yaxis_title=text("wind.deviation") + " (%)", template="plotly_white"
        )

    def why(self) -> str:
        watched = self.watched
        first = watched.scada.time[watched.start]
        return text(
            "wind.why",
            turbines=len(self.verdicts),
            days=(len(watched.scada) - watched.start) // 144,
            start=str(first)[:10],
            alarms=len(watched.alarms),
            unjudged=sum(row["verdict"] == "unjudged" for row in self.verdicts),
        )

    def save(self, out: Path) -> Path:
        """Write `verdicts.jsonl`, the pictures and `index.html`, and return its path."""
        out.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in self.verdicts]
        with atomic_write(out / "verdicts.jsonl") as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        notes = "".join(
            f"<li>{html.escape(n)}</li>" for n in self.watched.scada.warnings
        )
        body = f"<p>{html.escape(self.why())}</p><ul>{notes}</ul>"
        for i, verdict in enumerate(self.verdicts):
            name = f"turbine_{i + 1}.png"
            _save_picture(out / name, self.watched, i)
            body += _section(verdict, name)
        return save_page(out, text("wind.title"), body, STYLE, self.verdicts)


def _lost_time(watched: Watched, i: int) -> dict[str, float]:
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


def _weekly(watched: Watched) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the watched blocks and the deviations over a week, `[N, K]`."""
    deviation, _ = deviations(watched.energy, WEEK)
    first = -(-watched.start // BLOCK)
    ends = watched.scada.time[BLOCK - 1 :: BLOCK][: deviation.shape[1]]
    return ends[first:], np.expm1(deviation[:, first:])


def _save_picture(path: Path, watched: Watched, i: int) -> None:
    from matplotlib.figure import Figure

    days, deviation = _weekly(watched)
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


def _section(verdict: dict[str, Any], picture: str) -> str:
    name = html.escape(verdict["name"])
    lines = [reason(alarm) for alarm in verdict["alarms"]] or [
        text("wind.none" if verdict["verdict"] == "clear" else "wind.unjudged")
    ]
    items = "".join(
        f'<p class="{verdict["verdict"]}">{html.escape(line)}</p>' for line in lines
    )
    lost = {key: verdict[key] for key in ("stopped", "stuck", "absent")}
    alt = html.escape(f"{verdict['name']}: {text('wind.deviation')}", quote=True)
    return (
        f"<section><h2>{name}</h2>{items}<p>{html.escape(text('wind.stopped', **lost))}</p>"
        f'<img loading="lazy" src="{picture}" alt="{alt}"></section>'
    )


def reason(alarm: dict[str, Any]) -> str:
    """Return an alarm as a sentence in the current language."""
    facts = alarm | {"reason": text(f"wind.{alarm['reason']}")}
    return text("wind.alarm", **facts)
