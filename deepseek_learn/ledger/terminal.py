"""The ledger in a terminal: tables that fit its width."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..catalog import choose, text
from ..errors import UnknownNameError
from .wording import counts, measured, number, target, verdict_text, what

if TYPE_CHECKING:
    from .claim import Claim, Entry
    from .claims import Ledger

STYLES = {"met": "green", "on the mean only": "yellow", "missed": "red"}


def show(ledger: "Ledger", claim: str = "", missed: bool = False) -> None:
    """Print all claims, or the rows of one claim.

    Where the output is no terminal, the table is 80 columns wide, or as wide as the
    environment variable `COLUMNS` says.

    Args:
        ledger: the ledger.
        claim: the name of a claim, such as "C6"; empty for all claims.
        missed: only print claims with a missed row that decides, or missed rows.

    Raises:
        UnknownNameError: if there is no such claim; the message lists all claims.
    """
    console = Console(file=sys.stdout, highlight=False)
    if claim:
        one = _find(ledger, claim)
        entries = [e for e in one.rows if not missed or e.verdict == "missed"]
        console.print(Text(f"{one.name}: {choose(one.says)}", style="bold"))
        console.print(f"{verdict_text(one.verdict)}: {counts(one)}")
        if entries:
            console.print(_rows(entries))
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
    return any(entry.verdict == "missed" for entry in claim.deciding)


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


def _rows(entries: Sequence["Entry"]) -> Table:
    table = _table("what", "measured", "target", "verdict")
    several = len({entry.machine for entry in entries}) > 1
    for entry in entries:
        low, high = entry.row.low, entry.row.high
        bounds = "" if low is None else f"\n[{number(low)}, {number(high)}]"
        where = f"\n{entry.machine}" if several else ""
        cells = [f"{what(entry)}{where}", f"{number(entry.row.measured)}{bounds}"]
        cells.append(f"{target(entry.row)} {entry.row.unit}")
        table.add_row(*map(Text, cells), _verdict(entry.verdict))
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
