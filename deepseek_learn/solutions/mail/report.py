"""What reading emails leaves behind: a table, a plot and an HTML page."""

import html
import unicodedata
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

VERDICTS = ("unwanted", "unsure", "wanted", "refused")
COLORS = ("#d1495b", "#c9a227", "#2e9e5b", "#8a8a8a")
SHOWN = 500  # emails on the page
STYLE = f"""
article {{ border-top: 1px solid #8886; padding: .4rem 0; overflow-wrap: anywhere; }}
article p {{ margin: .2rem 0; }}
small {{ opacity: .75; }}
.wanted b {{ color: {GREEN}; }} .unwanted b {{ color: {RED}; }}
.unsure b {{ color: {YELLOW}; }}
.alarm {{ border-left: 4px solid {YELLOW}; padding-left: .8rem; }}
"""


@dataclass(frozen=True)
class Mails(Report):
    """The verdicts on emails.

    Attributes:
        verdicts: one per email, as in `verdicts.jsonl`: `name`, `verdict` ("wanted",
            "unwanted", "unsure" or "refused"), `score` (by how much it is beyond
            the border), `sender`, `subject`, `date`, `marks` of its form, the
            deciding `words` with their weights, the beginning of its `text`, `warnings`;
            or the `reason` of a refusal.
        changes: when the share of unwanted emails changed: `start`, `alarm` (dates),
            `before` and `after` (shares).
    """

    verdicts: list[dict[str, Any]] = field(repr=False)
    changes: list[dict[str, Any]] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return name, verdict, score, date, sender, subject and reasons of each email."""
        rows = [
            {
                **{key: row.get(key) for key in ("name", "verdict", "score", "date")},
                "sender": row.get("sender", ""),
                "subject": row.get("subject", ""),
                "reasons": _reasons(row),
            }
            for row in self.verdicts
        ]
        columns = ["name", "verdict", "score", "date", "sender", "subject", "reasons"]
        return pd.DataFrame(rows, columns=columns).set_index("name")

    def counts(self) -> dict[str, int]:
        """Return how many emails have each verdict."""
        counted = Counter(row["verdict"] for row in self.verdicts)
        return {name: counted[name] for name in VERDICTS}

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
        for name, color in zip(VERDICTS[:3], COLORS, strict=False):
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
        sentences = [_counted(self)]
        sentences += [_changed(change) for change in self.changes]
        return " ".join(sentences)

    def save(self, out: Path) -> Path:
        """Write the page `index.html` and return its path."""
        body = f"<p>{html.escape(_counted(self))}</p>"
        for change in self.changes:
            body += f'<p class="alarm">{html.escape(_changed(change))}</p>'
        order = {name: place for place, name in enumerate(VERDICTS)}
        rows = sorted(self.verdicts, key=lambda row: order[row["verdict"]])
        body += "".join(_article(row) for row in rows[:SHOWN])
        if len(rows) > SHOWN:
            rest = text("mail.rest", n=len(rows) - SHOWN)
            body += f"<p>{html.escape(rest)}</p>"
        return save_page(out, text("mail.title"), body, STYLE, self.verdicts)


def _counted(mails: Mails) -> str:
    facts: dict[str, Any] = {**mails.counts()}
    return text("mail.why", n=len(mails.verdicts), **facts)


def _changed(change: dict[str, Any]) -> str:
    facts = {name: change[name][:10] for name in ("start", "alarm")}
    return text("mail.changed", **facts, before=change["before"], after=change["after"])


def _reasons(row: dict[str, Any]) -> str:
    words = [f"“{word}” {weight:+.1f}" for word, weight in row.get("words", ())]
    more = [row["reason"]] if "reason" in row else []
    return ", ".join([*words, *row.get("marks", ()), *row.get("warnings", ()), *more])


def _safe(said: str) -> str:
    """Return HTML of a stranger's text, whose direction ends with it."""
    printable = (c for c in said if c.isspace() or unicodedata.category(c) != "Cc")
    return f"<bdi>{html.escape(''.join(printable))}</bdi>"


def _article(row: dict[str, Any]) -> str:
    kind = row["verdict"]
    said = html.escape(text(f"mail.{kind}"))
    if kind == "refused":
        return (
            f'<article class="{kind}"><p><b>{said}</b> <small>'
            f"{html.escape(row['name'])}</small></p><p>{html.escape(row['reason'])}</p>"
            f"</article>"
        )
    day = (row["date"] or "")[:10]
    subject = row["subject"] or text("mail.no_subject")
    return (
        f'<article class="{kind}"><p><b>{said}</b> {row["score"]:+.1f} · {_safe(subject)} '
        f"<small>{_safe(row['sender'])} · {day} · {_safe(row['name'])}</small>"
        f"</p><p><small>{_safe(_reasons(row))}</small></p>"
        f"<p>{_safe(row['text'])}</p></article>"
    )
