"""The ledger in a terminal: tables that fit its width."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..catalog import choose, text
from ..errors import UnknownNameError
from .storage import machine_name
from .wording import counts, measured, number, target, verdict_text, what

if TYPE_CHECKING:
    from .claim import Claim
    from .claims import Ledger
    from .rows import Row

STYLES = {"met": "green", "on the mean only": "yellow", "missed": "red"}


def show(
    ledger: "Ledger", claim: str = "", missed: bool = False, details: bool = False
) -> None:
    """Print all claims, or the figures of one claim.

    Where the output is no terminal, the table is 80 columns wide, or as wide as the
    environment variable `COLUMNS` says.

    Args:
        ledger: the ledger.
        claim: the name of a claim, such as "C6"; empty for all claims.
        missed: only print claims with a missed figure that decides, or missed figures.
        details: also print what was measured for the claim without a target.

    Raises:
        UnknownNameError: if there is no such claim; the message lists all claims.
    """
    console = Console(file=sys.stdout, highlight=False)
    if claim:
        one = _find(ledger, claim)
        figures = (*one.rows, *(one.details if details else ()))
        console.print(Text(f"{one.name}: {choose(one.says)}", style="bold"))
        console.print(f"{verdict_text(one.verdict)}: {counts(one)}")
        rows = [
            (row, verdict)
            for figure in figures
            for row, verdict in zip(figure.columns, figure.verdicts, strict=True)
            if not missed or verdict == "missed"
        ]
        if rows:
            console.print(_rows(rows))
        if one.details and not details:
            console.print(text("ledger.more", count=len(one.details), claim=one.name))
        return
    claims = [c for c in ledger.claims if not missed or _has_missed(c)]
    console.print(_claims(claims))
    console.print(ledger.why())


def _find(ledger: "Ledger", name: str) -> "Claim":
    known = {claim.name: claim for claim in ledger.claims}
    if name.upper() not in known:
        raise UnknownNameError("claim", name, list(known))
    return known[name.upper()]


def _has_missed(claim: "Claim") -> bool:
    return any("missed" in figure.verdicts for figure in claim.deciding)


def _claims(claims: Sequence["Claim"]) -> Table:
    table = _table("", "claim", "figure", "target", "verdict")
    for claim in claims:
        figure = claim.figure
        cells = ["", ""]
        if figure:
            words, value = choose(claim.figure_words), measured(figure.row)
            sentence = text("ledger.figure", words=words, value=value)
            cells = [sentence, target(figure.row)]
        verdict = _verdict(claim.verdict)
        table.add_row(claim.name, Text(choose(claim.says)), *map(Text, cells), verdict)
    return table


def _rows(rows: Sequence[tuple["Row", str]]) -> Table:
    table = _table("what", "measured", "target", "verdict")
    names = [machine_name(row.machine or {}) for row, _ in rows]
    for (row, verdict), name in zip(rows, names, strict=True):
        bounds = "" if row.low is None else f"\n[{number(row.low)}, {number(row.high)}]"
        where = f"\n{name}" if len(set(names)) > 1 else ""
        cells = [f"{what(row)}{where}", f"{number(row.measured)}{bounds}"]
        cells.append(f"{target(row)} {row.unit}")
        table.add_row(*map(Text, cells), _verdict(verdict))
    return table


def _table(*columns: str) -> Table:
    table = Table(show_lines=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
    for name in columns:
        wide = name in ("claim", "figure", "what")
        title = text(f"ledger.column_{name}") if name else ""
        table.add_column(title, ratio=1 if wide else None, overflow="fold")
    return table


def _verdict(verdict: str) -> Text:
    return Text(verdict_text(verdict), style=STYLES.get(verdict, ""))
