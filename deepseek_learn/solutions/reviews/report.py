"""What reading reviews leaves behind: a table, a plot and an HTML page."""

import html
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from ...catalog import text
from ...data.chinese import normalize
from ..page import GREEN, RED, YELLOW, VerdictReport

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLORS = {"positive": "#2e9e5b", "negative": "#d1495b"}
STYLE = f"""
.positive {{ color: {GREEN}; }} .negative {{ color: {RED}; }}
.unsure {{ color: {YELLOW}; }}
mark {{ color: inherit; border-radius: .2em; padding: 0 .1em; }}
mark.for {{ background: light-dark(#bfe8cd, #1d5a37); }}
mark.against {{ background: light-dark(#f6c6c6, #7a2b2b); }}
"""


@dataclass(frozen=True)
class Reviews(VerdictReport):
    """The verdicts on reviews.

    Attributes:
        verdicts: one per review, as in `verdicts.jsonl`: `verdict` ("positive",
            "negative", "unsure" or "refused"), `text`, the probability that it is
            `positive`, the deciding `words` (start and stop in the normalized text, and
            weight).
        find: what was searched for, or None.
        nearest: the nearest reviews' names and similarities.
    """

    find: str | None = None
    nearest: list[tuple[str, float]] = field(default_factory=list)
    name: ClassVar[str] = "reviews"
    order: ClassVar[tuple[str, ...]] = ("positive", "negative", "unsure", "refused")
    style: ClassVar[str] = STYLE

    def ranked(self) -> list[dict[str, Any]]:
        """Return the verdicts in the order of the files."""
        return self.verdicts

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

    def plot(self) -> "go.Figure":
        """Plot the words that decided most often, for and against."""
        import plotly.graph_objects as go

        figure = go.Figure()
        for side, color in COLORS.items():
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
        """Return how many reviews have each verdict, and which files were refused."""
        sentences = [text("reviews.why", n=len(self.verdicts), **self.counts())]
        if files := [row["reason"] for row in self.verdicts if "text" not in row]:
            sentences.append(text("reviews.files", count=len(files), reason=files[0]))
        return " ".join([*sentences, text("reviews.limits")])

    def head(self) -> str:
        """Return the legend, and the reviews that are nearest to what was searched for."""
        marked = any(row.get("words") for row in self.verdicts)
        legend = f"<p>{html.escape(text('reviews.legend'))}</p>" if marked else ""
        if not self.find:
            return legend
        by_name = {row["name"]: row for row in self.verdicts}
        near = "".join(
            self.section(by_name[name] | {"near": near}) for name, near in self.nearest
        )
        title = html.escape(text("reviews.found", find=self.find))
        rest = html.escape(text("reviews.all"))
        return f"{legend}<h2>{title}</h2>{near}<h2>{rest}</h2>"

    def detail(self, row: dict[str, Any]) -> str:
        """Return the probability of the verdict, and the nearness if it was searched."""
        near = f" · {row['near']:.2f}" if "near" in row else ""
        return f"{max(row['positive'], 1 - row['positive']):.0%}{near}"

    def entry(self, row: dict[str, Any]) -> str:
        """Return the text with the deciding words marked."""
        return f"<p>{_marked(row)}</p>"


def deciding(row: dict[str, Any]) -> list[tuple[str, float]]:
    """Return the deciding words of a verdict and their weights, the heaviest first."""
    normal = normalize(row.get("text", ""))
    words = [(normal[a:b], weight) for a, b, weight in row.get("words", ())]
    return sorted(words, key=lambda each: -abs(each[1]))


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
