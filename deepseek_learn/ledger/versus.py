"""The book's page of bars: how many times as good ours is as the best peer.

The figures are rows of the ledger (`versus.toml`), one table for each machine. Beside them
stands what `benchmarks/versus.py` measured in a short run on the reader's own machine, if
there is one. A bar starts at 1, where both are equal, on a logarithmic scale; where ours is
behind it is red.
"""

import functools
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import ceil, floor, log2
from pathlib import Path
from typing import Any

from ..catalog import choose, text
from .results import folder, read_result
from .rows import Row

COMPARISONS = Path(__file__).with_suffix(".toml")
OWN = Path("quick") / "versus.json"  # the reader's own run, in the folder of results
Scale = tuple[float, float]  # the logarithms to base 2 of both ends


@dataclass(frozen=True)
class PeerComparison:
    """How many times as good ours is as a peer on one machine, with its interval.

    Attributes:
        name: what was compared, as `{"en": ..., "zh": ...}`.
        peer: whom ours was compared with.
        times: the peer's time or loss over ours, or our score over the peer's.
        low, high: the bounds of its interval.
    """

    name: Mapping[str, str]
    peer: str
    times: float
    low: float
    high: float

    @classmethod
    def of(cls, row: Row, name: Mapping[str, str], peer: str) -> "PeerComparison":
        """Make it from a row that is a ratio, whichever way it was divided."""
        assert row.measured is not None
        bounds = [row.measured if b is None else b for b in (row.low, row.high)]
        values = [row.measured, *bounds]
        if row.better == "lower":  # ours over the peer's
            values = [1 / value for value in values]
        return cls(name, peer, values[0], min(values[1:]), max(values[1:]))

    @property
    def standing(self) -> str:
        """Return "ahead" or "behind" if the whole interval is, else "level"."""
        return "ahead" if self.low >= 1 else "behind" if self.high < 1 else "level"


@functools.cache
def entries() -> tuple[dict[str, Any], ...]:
    """Load `versus.toml`: for each comparison the row, its names and perhaps the peer."""
    return tuple(tomllib.loads(COMPARISONS.read_text("utf-8"))["comparison"])


def of_the_ledger(directory: Path) -> dict[str, list[PeerComparison]]:
    """Return the ledger's comparisons by the name of the processor."""
    machines: dict[str, list[PeerComparison]] = {}
    for entry in entries():
        path = directory / f"{entry['result']}.json"
        rows = read_result(path).rows if path.is_file() else ()
        for row in rows:
            if row.what == entry["row"] and row.measured is not None:
                assert row.machine is not None  # every row in a file has a machine
                peer = entry.get("peer") or row.peer or ""
                comparison = PeerComparison.of(row, entry, peer)
                machines.setdefault(row.machine["cpu"], []).append(comparison)
    return machines


def of_the_reader(directory: Path) -> Iterator[PeerComparison]:
    """Return the comparisons of the reader's own run, if there is one."""
    path, known = directory / OWN, {entry["en"]: entry for entry in entries()}
    for row in read_result(path).rows if path.is_file() else ():
        name = row.what.removesuffix(f", against {row.peer}")
        names = known.get(name, {"en": name, "zh": name})
        yield PeerComparison.of(row, names, row.peer or "")


def to_html(lang: str | None = None, directory: Path | None = None) -> str:
    """Return the tables of all machines, or a sentence if nothing was measured."""
    directory = directory or folder()
    tables = {
        text("versus.caption", lang, machine=machine): comparisons
        for machine, comparisons in of_the_ledger(directory).items()
    }
    if own := [*of_the_reader(directory)]:
        tables[text("versus.caption_own", lang)] = own
    if not tables:
        return text("versus.not_run", lang)
    return "\n\n".join(_table(title, each, lang) for title, each in tables.items())


def scale_of(comparisons: Sequence[PeerComparison]) -> Scale:
    """Return whole powers of 2 that enclose all intervals, and 1/2 and 2."""
    values = [v for each in comparisons for v in (each.times, each.low, each.high)]
    return min(-1.0, floor(log2(min(values)))), max(1.0, ceil(log2(max(values))))


def place(value: float, scale: Scale) -> float:
    """Return where a value lies on the scale, in percent of its length."""
    low, high = scale
    return round(100 * (log2(value) - low) / (high - low), 2)


def _table(caption: str, comparisons: list[PeerComparison], lang: str | None) -> str:
    scale = scale_of(comparisons)
    names = ("what", "peer", "times")
    titles = [text(f"versus.column_{name}", lang) for name in names]
    head = "".join(f'<th scope="col">{title}</th>' for title in titles)
    ends = "".join(
        f'<span style="left:{place(2.0**n, scale)}%">{_power(n)}</span>'
        for n in range(int(scale[0]), int(scale[1]) + 1)
    )
    best_first = sorted(comparisons, key=lambda each: -each.times)
    body = "".join(_row(each, scale, lang) for each in best_first)
    return (
        f'<table class="versus"><caption>{escape(caption)}</caption><thead><tr>{head}'
        f'<th aria-hidden="true"><div class="versus-scale">{ends}</div></th></tr>'
        f"</thead><tbody>{body}</tbody></table>"
    )


def _row(comparison: PeerComparison, scale: Scale, lang: str | None) -> str:
    value, low, high = comparison.times, comparison.low, comparison.high
    start, end = sorted((place(1.0, scale), place(value, scale)))
    edges = place(low, scale), place(high, scale)
    kind = comparison.standing
    bar = (
        f'<div class="versus-bar" style="--one:{place(1.0, scale)}%">'
        f'<i style="left:{start}%;width:{round(end - start, 2)}%"></i>'
        f'<b style="left:{edges[0]}%;width:{round(edges[1] - edges[0], 2)}%"></b></div>'
    )
    words = f"{value:.2f} ({low:.2f}–{high:.2f})"
    return (
        f'<tr class="versus-{kind}"><th scope="row">'
        f"{escape(choose(comparison.name, lang))}</th>"
        f"<td>{escape(comparison.peer)}</td>"
        f"<td>{words} <span>{text(f'versus.{kind}', lang)}</span></td>"
        f'<td aria-hidden="true">{bar}</td></tr>'
    )


def _power(exponent: int) -> str:
    return str(2**exponent) if exponent >= 0 else f"1/{2**-exponent}"
