"""The book's page of bars: how many times as good ours is as the best peer.

The rows are those of `benchmarks/versus.py`, one table for each machine. A bar starts at
1, where both are equal, on a logarithmic scale; where ours is behind it is red.
"""

import re
from html import escape
from math import ceil, floor, log2
from pathlib import Path

from ..catalog import choose, messages, text
from .results import Result, folder, read_result
from .rows import Row

NAME = "versus"
PHRASES = "versus.phrase_"  # the keys of what `benchmarks/versus.py` writes in English
Scale = tuple[float, float]  # the logarithms to base 2 of both ends


def to_html(lang: str | None = None, directory: Path | None = None) -> str:
    """Return the tables of all machines, or a sentence if nothing was measured."""
    path = (directory or folder()) / f"{NAME}.json"
    result = read_result(path) if path.is_file() else None
    if result is None or result.mode != "full":
        return text("versus.not_run", lang)
    machines = by_machine(result)
    return "\n\n".join(_table(name, rows, lang) for name, rows in machines.items())


def by_machine(result: Result) -> dict[str, list[Row]]:
    """Return the rows by the name of their processor, those that are behind last."""
    machines: dict[str, list[Row]] = {}
    for row in result.rows:
        assert row.machine is not None
        machines.setdefault(row.machine["cpu"], []).append(row)
    return {
        name: sorted(rows, key=lambda row: -(row.measured or 0.0))
        for name, rows in machines.items()
    }


def scale_of(rows: list[Row]) -> Scale:
    """Return whole powers of 2 that enclose all intervals, and 1/2 and 2."""
    values = [v for row in rows for v in (row.measured, row.low, row.high) if v]
    return min(-1.0, floor(log2(min(values)))), max(1.0, ceil(log2(max(values))))


def place(value: float, scale: Scale) -> float:
    """Return where a value lies on the scale, in percent of its length."""
    low, high = scale
    return round(100 * (log2(value) - low) / (high - low), 2)


def standing(row: Row) -> str:
    """Return "ahead" or "behind" if the whole interval is, else "level"."""
    assert row.measured is not None
    low, high = row.low or row.measured, row.high or row.measured
    return "ahead" if low >= 1 else "behind" if high < 1 else "level"


def translate(words: str, lang: str | None = None) -> str:
    """Return the name or the note of a row with each known phrase in the language."""
    phrases = [each for key, each in messages().items() if key.startswith(PHRASES)]
    for phrase in sorted(phrases, key=lambda each: -len(each["en"])):
        pattern = re.escape(phrase["en"]).replace(r"\{n\}", r"(\d[\d,.]*)")
        own = choose(phrase, lang).replace("{n}", r"\1")
        words = re.sub(rf"\b{pattern}\b", own, words)
    return words


def _table(machine: str, rows: list[Row], lang: str | None) -> str:
    scale = scale_of(rows)
    names = ("what", "peer", "times")
    titles = [text(f"versus.column_{name}", lang) for name in names]
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    ends = "".join(
        f'<span style="left:{place(2.0**n, scale)}%">{_power(n)}</span>'
        for n in range(int(scale[0]), int(scale[1]) + 1)
    )
    body = "".join(_row(row, scale, lang) for row in rows)
    caption = text("versus.caption", lang, machine=machine)
    return (
        f'<table class="versus"><caption>{escape(caption)}</caption><thead><tr>{head}'
        f'<th aria-hidden="true"><div class="versus-scale">{ends}</div></th></tr>'
        f"</thead><tbody>{body}</tbody></table>"
    )


def _row(row: Row, scale: Scale, lang: str | None) -> str:
    assert row.measured is not None
    what = translate(row.what.removesuffix(f", against {row.peer}"), lang)
    low, high = row.low or row.measured, row.high or row.measured
    start, end = sorted((place(1.0, scale), place(row.measured, scale)))
    edges = place(low, scale), place(high, scale)
    kind = standing(row)
    bar = (
        f'<div class="versus-bar" style="--one:{place(1.0, scale)}%">'
        f'<i style="left:{start}%;width:{round(end - start, 2)}%"></i>'
        f'<b style="left:{edges[0]}%;width:{round(edges[1] - edges[0], 2)}%"></b></div>'
    )
    words = f"{row.measured:.2f} ({low:.2f}–{high:.2f})"
    note = escape(translate(row.note or "", lang))
    note = f"<small>{note}</small>" if note else ""
    return (
        f'<tr class="versus-{kind}"><th scope="row">{escape(what)}{note}</th>'
        f"<td>{escape(row.peer or '')}</td>"
        f"<td>{words} <span>{text(f'versus.{kind}', lang)}</span></td>"
        f'<td aria-hidden="true">{bar}</td></tr>'
    )


def _power(exponent: int) -> str:
    return str(2**exponent) if exponent >= 0 else f"1/{2**-exponent}"
