"""The HTML page that a solution leaves behind."""

import html
from pathlib import Path

from ..catalog import language
from ..files import atomic_write

PAGE = "index.html"
MARK = '<meta name="generator" content="deepseek_learn">'  # nothing else is replaced
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem;
       padding: 0 1rem; color: CanvasText; background: Canvas; color-scheme: light dark; }
"""
GREEN, RED, YELLOW = (  # readable on a light and on a dark page
    "light-dark(#1a7f4b, #5ecb90)",
    "light-dark(#b3261e, #ff8a80)",
    "light-dark(#7a5c00, #e0b84a)",
)


def save_page(out: Path, title: str, body: str, style: str) -> Path:
    """Write the page `index.html` to a folder and return its path.

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
        f"<body><h1>{name}</h1>{body}</body></html>"
    )
    with atomic_write(out / PAGE) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return out / PAGE


def is_replaceable(page: Path) -> bool:
    """Whether a page does not exist yet or was written by a solution."""
    if not page.is_file():
        return not page.exists()
    with page.open("rb") as file:
        return MARK.encode() in file.read(1000)
