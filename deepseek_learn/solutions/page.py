"""The HTML page that a solution leaves behind."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..catalog import language, text
from ..files import atomic_write

PAGE = "index.html"
MARK = '<meta name="generator" content="deepseek_learn">'  # nothing else is replaced
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
       padding: 0 1rem; color: CanvasText; background: Canvas; color-scheme: light dark; }
footer { border-top: 1px solid #8886; font-size: .8rem; overflow-wrap: anywhere; }
"""
GREEN, RED, YELLOW = (  # readable on a light and on a dark page
    "light-dark(#1a7f4b, #5ecb90)",
    "light-dark(#b3261e, #ff8a80)",
    "light-dark(#7a5c00, #e0b84a)",
)


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
