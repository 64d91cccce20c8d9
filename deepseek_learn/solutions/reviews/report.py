"""What reading reviews leaves behind: a table, a plot and an HTML page."""

import html
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...catalog import text
from ...data.chinese import normalize
from ...report import Report
from ..page import GREEN, RED, YELLOW, save_page

if TYPE_CHECKING:
    import plotly.graph_objects as go

VERDICTS = ("positive", "negative", "unsure", "refused")
COLORS = ("#2e9e5b", "#d1495b", "#c9a227", "#8a8a8a")
SHOWN = 500  # reviews on the page
STYLE = f"""
article {{ border-top: 1px solid #8886; padding: .4rem 0; overflow-wrap: anywhere; }}
article p {{ margin: .2rem 0; }}
small {{ opacity: .75; }}
.positive b {{ color: {GREEN}; }} .negative b {{ color: {RED}; }}
.unsure b {{ color: {YELLOW}; }}
mark {{ color: inherit; border-radius: .2em; padding: 0 .1em; }}
mark.for {{ background: light-dark(#bfe8cd, #1d5a37); }}
mark.against {{ background: light-dark(#f6c6c6, #7a2b2b); }}
"""


@dataclass(frozen=True)
class Reviews(Report):
    """The verdicts on reviews.

    Attributes:
        verdicts: one per review, as in `verdicts.jsonl`: `name`, `verdict` ("positive",
            "negative", "unsure" or "refused"), `text`, the probability that it is
            `positive`, the deciding `words` (start and stop in the normalized text, and
            weight), perhaps a `warning`; or the `reason` of a refusal.
        find: what was searched for, or None.
        nearest: the nearest reviews' names and similarities.
    """

    verdicts: list[dict[str, Any]] = field(repr=False)
    find: str | None = None
    nearest: list[tuple[str, float]] = field(default_factory=list)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per review: name, verdict, probability, deciding words, text."""
        rows = [
            {
                "name": row["name"],
                "verdict": row["verdict"],
                "positive": row.get("positive"),
                "words": " ".join(word for word, _ in deciding(row)),
                "text": row.get("text", ""),
            }
            for row in self.verdicts
        ]
        columns = ["name", "verdict", "positive", "words", "text"]
        return pd.DataFrame(rows, columns=columns).set_index("name")

    def counts(self) -> dict[str, int]:
        """Return how many reviews have each verdict."""
        counted = Counter(row["verdict"] for row in self.verdicts)
        return {name: counted[name] for name in VERDICTS}

    def plot(self) -> "go.Figure":
        """Plot the words that decided most often, for and against."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for side, color in (("positive", COLORS[0]), ("negative", COLORS[1])):
            counted = Counter(
                word
                for row in self.verdicts
                for word, weight in {**dict(deciding(row))}.items()
                if (weight > 0) == (side == "positive")
            )
            words, counts = zip(*counted.most_common(12) or [("", 0)], strict=True)
            sign = 1 if side == "positive" else -1
            figure.add_bar(
                y=words[::-1], x=[sign * count for count in counts[::-1]],
                orientation="h", name=text(f"reviews.{side}"), marker_color=color,
            )  # fmt: skip
        return figure.update_layout(
            barmode="overlay",
            xaxis_title=text("reviews.times"),
            template="plotly_white",
            height=520,
        )

    def why(self) -> str:
        facts: dict[str, Any] = {**self.counts()}
        sentences = [text("reviews.why", n=len(self.verdicts), **facts)]
        if files := [row["reason"] for row in self.verdicts if "text" not in row]:
            sentences.append(text("reviews.files", count=len(files), reason=files[0]))
        return " ".join([*sentences, text("reviews.limits")])

    def save(self, out: Path) -> Path:
        """Write the page `index.html` and return its path."""
        body = f"<p>{html.escape(self.why())}</p>"
        if any(row.get("words") for row in self.verdicts):
            body += f"<p>{html.escape(text('reviews.legend'))}</p>"
        by_name = {row["name"]: row for row in self.verdicts}
        if self.find:
            body += f"<h2>{html.escape(text('reviews.found', find=self.find))}</h2>"
            body += "".join(
                _article(by_name[name], f" · {near:.2f}") for name, near in self.nearest
            )
            body += f"<h2>{html.escape(text('reviews.all'))}</h2>"
        body += "".join(_article(row) for row in self.verdicts[:SHOWN])
        if len(self.verdicts) > SHOWN:
            rest = text("reviews.rest", n=len(self.verdicts) - SHOWN)
            body += f"<p>{html.escape(rest)}</p>"
        return save_page(out, text("reviews.title"), body, STYLE, self.verdicts)


def deciding(row: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the deciding words of a verdict and their weights, the heaviest first."""
    normal = normalize(row.get("text", ""))
    words = [(normal[a:b], weight) for a, b, weight in row.get("words", ())]
    return sorted(words, key=lambda each: -abs(each[1]))


def _article(row: dict[str, Any], more: str = "") -> str:
    name = html.escape(row["name"])
    kind = row["verdict"]
    said = html.escape(text(f"reviews.{kind}"))
    if kind != "refused":
        said += f" {max(row['positive'], 1 - row['positive']):.0%}"
    note = html.escape(row.get("reason") or row.get("warning") or "")
    return (
        f'<article class="{kind}"><p><b>{said}</b> <small>{name}{more} {note}</small></p>'
        f"<p>{_marked(row)}</p></article>"
    )


def _marked(row: dict[str, Any]) -> str:
    """Return the normalized text with the deciding words marked."""
    normal, result, at = normalize(row.get("text", "")), "", 0
    for start, stop, weight in row.get("words", ()):
        if stop > len(normal):
            break
        side = "for" if weight > 0 else "against"
        result += html.escape(normal[at:start])
        word = html.escape(normal[start:stop])
        result += f'<mark class="{side}" title="{weight:+.1f}">{word}</mark>'
        at = stop
    return result + html.escape(normal[at:])
