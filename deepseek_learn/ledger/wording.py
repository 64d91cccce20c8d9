"""The words and numbers of a figure, as pages, notebooks and terminals show them."""

from ..catalog import text
from . import readings as speed
from .claim import Claim
from .rows import Row
from .storage import machine_name

PLAIN = ("", "1", "of 1", "ratio")  # units that say nothing beside a number
DASH = "–"


def number(value: float | None) -> str:
    """Return a value with four significant digits, or a dash for None."""
    return DASH if value is None else f"{value:.4g}"


def target(row: Row) -> str:
    """Return the target with its direction, such as "≤ 35"."""
    sign = "≤" if row.better == "lower" else "≥"
    return DASH if row.target is None else f"{sign} {row.target:g}"


def measured(row: Row) -> str:
    """Return the value, its unit and its interval, such as "1.45 x [1.14, 1.51]"."""
    unit = "" if row.unit in PLAIN or row.measured is None else f" {row.unit}"
    value = f"{number(row.measured)}{unit}"
    if row.low is None or row.high is None:
        return value
    return f"{value} [{number(row.low)}, {number(row.high)}]"


def verdict_text(verdict: str, lang: str | None = None) -> str:
    """Return the words for a verdict."""
    return text(f"verdict.{verdict.replace(' ', '_')}", lang)


def what(row: Row, lang: str | None = None) -> str:
    """Return what was measured, and whether the target is the guide's number."""
    mark = f" ({text('ledger.guide_row', lang)})" if row.source == "guide" else ""
    return f"{row.what}{mark}"


def origin(row: Row) -> str:
    """Return the machine on which a row was measured, and the date."""
    assert row.machine is not None  # every row in a file has a machine
    return ", ".join(filter(None, [machine_name(row.machine), row.date]))


def remarks(row: Row, verdict: str, lang: str | None = None) -> list[str]:
    """Return what else is known of a row: interval, peer, note, choices and readings."""
    facts = []
    if row.interval:
        facts.append(text("ledger.interval", lang, kind=row.interval))
    if row.peer is not None:
        peer = f"{row.peer}: {number(row.peer_measured)}"
        facts.append(text("ledger.peer", lang, peer=peer))
    if row.n is not None:
        facts.append(f"n = {number(row.n)}")
    facts += [row.note] if row.note else []
    if row.choices:
        facts.append(text("ledger.choices", lang, choices=row.choices))
    facts += _readings(row, lang)
    if _crosses(row) and verdict == "missed":  # the other verdicts imply this
        facts.append(text("ledger.crosses", lang))
    return facts


def counts(claim: Claim, lang: str | None = None) -> str:
    """Return how many of a claim's figures decide it, and how they ended."""
    verdicts = [figure.verdict for figure in claim.deciding]
    each = ", ".join(
        f"{verdicts.count(verdict)} {verdict_text(verdict, lang)}"
        for verdict in dict.fromkeys(verdicts)
    )
    if not verdicts:
        return text("ledger.no_rows", lang)
    return text(
        "ledger.counts", lang, rows=len(claim.rows), deciding=len(verdicts), each=each
    )


def _crosses(row: Row) -> bool:
    """Return whether the target lies within the interval."""
    if row.low is None or row.target is None or row.high is None:
        return False
    return row.low < row.target < row.high


def _readings(row: Row, lang: str | None) -> list[str]:
    """List a speed row's readings and their times, and say whether more are needed."""
    if not row.readings:
        return []
    each = [f"{number(r.measured)} ({r.time[:16]})" for r in row.readings]
    notes = [text("ledger.readings", lang, readings=", ".join(each))]
    count = speed.hours(row.readings)
    if count < speed.HOURS:
        facts = {"count": count, "needed": speed.HOURS}
        notes.append(text("ledger.few_readings", lang, **facts))
    return notes
