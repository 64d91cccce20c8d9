"""What reading emails leaves behind: a table, a plot and an HTML page."""

import html
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from ...catalog import text
from ..page import GREEN, RED, YELLOW, VerdictReport, safe
from ..verdicts import REFUSED

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLORS = {"unwanted": "#d1495b", "unsure": "#c9a227", "wanted": "#2e9e5b"}
STYLE = f"""
.wanted {{ color: {GREEN}; }} .unwanted {{ color: {RED}; }}
.unsure {{ color: {YELLOW}; }}
.alarm {{ border-left: 4px solid {YELLOW}; padding-left: .8rem; }}
"""


@dataclass(frozen=True)
class Mails(VerdictReport):
    """The verdicts on emails.

    Attributes:
        verdicts: one per email, as in `verdicts.jsonl`: `verdict` ("wanted", "unwanted",
            "unsure" or "refused"), `score` (by how much it is beyond the threshold),
            `sender`, `subject`, `date`, `marks` of its form, the deciding `words` with
            their weights, the beginning of its `text`.
        changes: when the share of unwanted emails changed: `start`, `alarm` (dates),
            `before` and `after` (shares).
    """

    changes: list[dict[str, Any]] = field(default_factory=list)
    name: ClassVar[str] = "mail"
    order: ClassVar[tuple[str, ...]] = ("unwanted", "unsure", "wanted", "refused")
    style: ClassVar[str] = STYLE

    def to_frame(self) -> pd.DataFrame:
        """Return name, verdict, score, date, sender, subject and reasons of each email."""
        rows = [
            {
                **{key: row.get(key) for key in ("name", "verdict", "score", "date")},
                "sender": row.get("sender", ""),
                "subject": row.get("subject", ""),
                "reasons": ", ".join(_all_reasons(row)),
            }
            for row in self.verdicts
        ]
        columns = ["name", "verdict", "score", "date", "sender", "subject", "reasons"]
        return pd.DataFrame(rows, columns=columns).set_index("name")

    def plot(self) -> "go.Figure":
        """Plot the verdicts of each day, and mark where the share changed."""
        import plotly.graph_objects as go

        counted = Counter(
            (row["date"][:10], row["verdict"])
            for row in self.verdicts
            if row.get("date")
        )
        days = sorted({day for day, _ in counted})
        figure = go.Figure()
        for name, color in COLORS.items():
            counts = [counted[day, name] for day in days]
            figure.add_bar(
                x=days, y=counts, name=text(f"mail.{name}"), marker_color=color
            )
        for change in self.changes:
            figure.add_vline(
                x=change["start"][:10], line_dash="dash", line_color="#555555"
            )
        return figure.update_layout(
            barmode="stack",
            yaxis_title=text("mail.per_day"),
            template="plotly_white",
            height=420,
        )

    def why(self) -> str:
        """Return how many emails have each verdict, and when their share changed."""
        counted = text("mail.why", n=len(self.verdicts), **self.counts())
        return " ".join([counted, *map(_changed, self.changes)])

    def head(self) -> str:
        """Return the changes of the share of unwanted emails."""
        return "".join(
            f'<p class="alarm">{html.escape(_changed(change))}</p>'
            for change in self.changes
        )

    def detail(self, row: dict[str, Any]) -> str:
        """Return the score and the subject."""
        return f"{row['score']:+.1f} · {row['subject'] or text('mail.no_subject')}"

    def entry(self, row: dict[str, Any]) -> str:
        """Return the sender, the date, the reasons and the beginning of the text."""
        if row["verdict"] == REFUSED:
            return ""
        day, reasons = (row["date"] or "")[:10], ", ".join(_reasons(row))
        return (
            f"<p><small>{safe(row['sender'])} · {day}</small></p>"
            f"<p><small>{safe(reasons)}</small></p><p>{safe(row['text'])}</p>"
        )


def _changed(change: dict[str, Any]) -> str:
    facts = {name: change[name][:10] for name in ("start", "alarm")}
    return text("mail.changed", **facts, before=change["before"], after=change["after"])


def _reasons(row: dict[str, Any]) -> list[str]:
    """Return the deciding words and the marks of an email's form."""
    words = [f"“{word}” {weight:+.1f}" for word, weight in row.get("words", ())]
    return [*words, *row.get("marks", ())]


def _all_reasons(row: dict[str, Any]) -> list[str]:
    """Return the reasons of a verdict, the warnings, and why it was refused."""
    refusal = [row["reason"]] if "reason" in row else []
    return [*_reasons(row), *row.get("warnings", ()), *refusal]
