"""The report on verdicts, and the HTML page that every solution leaves behind.

All pages have the same parts: the title, what the solution is not for, the summary, the
items with their verdicts and warnings, and the provenance. A solution fills the slots
`head`, `label`, `detail` and `entry`.
"""

import html
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from ..catalog import language, text
from ..files import atomic_write
from ..report import Report
from .verdicts import REFUSED

PAGE = "index.html"
MARK = '<meta name="generator" content="deepseek_learn">'  # nothing else is replaced
SHOWN = 200  # the page shows at most this many items of each verdict
GREEN, RED, YELLOW = (  # readable on a light and on a dark page
    "light-dark(#1a7f4b, #5ecb90)",
    "light-dark(#b3261e, #ff8a80)",
    "light-dark(#7a5c00, #e0b84a)",
)
STYLE = f"""
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
       padding: 0 1rem; color: CanvasText; background: Canvas; color-scheme: light dark; }}
section {{ border-top: 1px solid #8886; padding: .5rem 0; overflow-wrap: anywhere; }}
h2 {{ font-size: 1.1rem; margin: 0; }}
section p {{ margin: .2rem 0; }}
img {{ max-width: 100%; height: auto; }}
small {{ opacity: .75; }}
footer {{ border-top: 1px solid #8886; font-size: .8rem; overflow-wrap: anywhere; }}
.not-for {{ font-weight: bold; border: 2px solid; padding: .5rem; }}
.refused, .not-for, section ul {{ color: {YELLOW}; }}
"""


@dataclass(frozen=True)
class VerdictReport(Report):
    """The report on the verdicts of a run.

    Attributes:
        verdicts: the last verdict on each item, as in `verdicts.jsonl`.
        name: the solution's name, with which its messages begin.
        order: the solution's words for a verdict, in the order of the page.
        style: CSS beyond that of all pages.
    """

    verdicts: list[dict[str, Any]] = field(repr=False)
    name: ClassVar[str]
    order: ClassVar[tuple[str, ...]]
    style: ClassVar[str] = ""

    def counts(self) -> dict[str, Any]:
        """Return how many items have each verdict, int, in the order of the page."""
        counted = Counter(row["verdict"] for row in self.verdicts)
        return {verdict: counted[verdict] for verdict in self.order}

    def judged(self) -> list[dict[str, Any]]:
        """Return the verdicts on the items that were not refused."""
        return [row for row in self.verdicts if row["verdict"] != REFUSED]

    def ranked(self) -> list[dict[str, Any]]:
        """Return the verdicts in the order of the page."""
        return sorted(self.verdicts, key=lambda row: self.order.index(row["verdict"]))

    # --- the slots

    def head(self) -> str:
        """Return HTML between the summary and the items."""
        return ""

    def label(self, row: dict[str, Any]) -> str:
        """Return the word for a verdict in the current language."""
        if row["verdict"] == REFUSED:
            return text("solution.refused")
        return text(f"{self.name}.{row['verdict']}")

    def detail(self, row: dict[str, Any]) -> str:
        """Return what stands beside the word: a score, for example."""
        return ""

    def entry(self, row: dict[str, Any]) -> str:
        """Return HTML below a verdict: pictures, reasons."""
        return ""

    # --- the page

    def save(self, out: Path) -> Path:
        """Write the page `index.html` to a folder and return its path.

        Of each verdict, it shows up to 200 items, and says so if there are more.
        """
        shown, counts = [], Counter[str]()
        for row in self.ranked():
            counts[row["verdict"]] += 1
            if counts[row["verdict"]] <= SHOWN:
                shown.append(row)
        summary = self.why()
        if len(shown) < len(self.verdicts):
            total = len(self.verdicts)
            summary += " " + text("solution.shown", count=len(shown), total=total)
        body = (
            f'<p class="not-for">{html.escape(text(f"{self.name}.not_for"))}</p>'
            f"<p>{html.escape(summary)}</p>{self.head()}"
            f"<main>{''.join(map(self.section, shown))}</main>"
        )
        title = text(f"{self.name}.title")
        return save_page(out, title, body, self.style, self.verdicts)

    def section(self, row: dict[str, Any]) -> str:
        """Return the HTML of one item: its name, its verdict and its warnings."""
        detail = safe(row.get("reason") or self.detail(row))
        warnings = "".join(f"<li>{safe(each)}</li>" for each in row.get("warnings", ()))
        return (
            f"<section><h2>{safe(row['name'])}</h2>"
            f'<p><strong class="{row["verdict"]}">{safe(self.label(row))}</strong> '
            f"{detail}</p>{self.entry(row)}"
            f"{f'<ul>{warnings}</ul>' if warnings else ''}</section>"
        )


def safe(words: str) -> str:
    """Return HTML of text that a stranger may have written, without control characters.

    A change of the direction of writing ends with it.
    """
    printable = (c for c in words if c.isspace() or unicodedata.category(c) != "Cc")
    return f"<bdi>{html.escape(''.join(printable))}</bdi>"


def picture(row: dict[str, Any], key: str, alt: str) -> str:
    """Return the HTML of the picture that a verdict names under a key; "" if none."""
    if not row.get(key):
        return ""
    source, alt = html.escape(row[key], quote=True), html.escape(alt, quote=True)
    return f'<img loading="lazy" src="{source}" alt="{alt}">'


def save_page(
    out: Path, title: str, body: str, style: str, verdicts: Sequence[dict[str, Any]]
) -> Path:
    """Write the page `index.html` to a folder and return its path.

    It ends with the provenance of the verdicts; see `verdicts.Provenance`.

    Args:
        title: plain text, which is also the heading.
        body: HTML, in which text must have been escaped.
        style: CSS beyond that of all pages.
    """
    out.mkdir(parents=True, exist_ok=True)
    name = html.escape(title)
    page = (
        f'<!doctype html><html lang="{language()}"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{MARK}<title>{name}</title><style>{STYLE}{style}</style></head>"
        f"<body><h1>{name}</h1>{body}{_footer(verdicts)}</body></html>"
    )
    with atomic_write(out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return out / PAGE


def _footer(verdicts: Sequence[dict[str, Any]]) -> str:
    """Return the version, the model, the options and the dates of verdicts as HTML."""
    stamps = [each["provenance"] for each in verdicts if "provenance" in each]
    if not stamps:
        return ""
    last = stamps[-1]
    days = sorted({each["date"] for each in stamps})
    facts = {
        "version": last["version"],
        "model": last["model"],
        "options": ", ".join(f"{k} = {v}" for k, v in last["options"].items()) or "-",
        "dates": days[0] if len(days) == 1 else f"{days[0]} – {days[-1]}",
    }
    sentence = html.escape(text("solution.provenance", **facts))
    return f"<footer><p>{sentence}</p></footer>"


def is_replaceable(page: Path) -> bool:
    """Whether a page does not exist yet or was written by a solution."""
    if not page.is_file():
        return not page.exists()
    with page.open("rb") as file:
        return MARK.encode() in file.read(1000)
