"""The table of a track: which entries are better than the reference, and which are not.

An entry is *better* only if an exact sign test over eight fresh seeds says so, which
takes eight wins. A record that a re-run does not confirm is *skeptical*, and is listed
with the reason. No finished race is left out.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from pathlib import Path
from statistics import fmean, median

from ..catalog import text
from ..escaping import markdown, printable
from .entry import Entry
from .racing import FOLDER, RECORDS, entries
from .records import Record, disagreement, read_records, valid
from .track import Track, load_track

DATE, NO_BREAK = re.compile(r"\b\d{4}-\d\d-\d\d\b"), "\u2011"  # dates stay in one line
STATES = ("reference", "better", "not_shown", "skeptical", "refused", "pending")


@dataclass(frozen=True)
class BoardRow:
    """A row of the table: an entry, its state and its records.

    Attributes:
        entry: the entry.
        state: one of `STATES`.
        record: its first valid record; None if it is pending.
        reruns: the records of its re-runs.
        doubt: a re-run that contradicts it, and the reason (`records.disagreement`).
    """

    entry: Entry
    state: str
    record: Record | None = None
    reruns: tuple[Record, ...] = ()
    doubt: tuple[Record, str] | None = None

    def gain(self, track: Track) -> float:
        """Return the mean gain over the reference; minus infinity without scores."""
        scored = self.record is not None and self.record.scores
        if not scored or self.record is None:
            return float("-inf")
        return fmean(self.record.gains(track))


def standing(entry: Entry, records: Sequence[Record], track: Track) -> BoardRow:
    """Return the row of an entry.

    Args:
        records: the valid records of this entry, earliest first.
    """
    firsts = [each for each in records if not each.rerun]
    if not firsts:
        return BoardRow(entry, "pending")
    first, again = firsts[0], tuple(each for each in records if each.rerun)
    if first.fault:
        return BoardRow(entry, "refused", first, again)
    if entry.name == track.reference:
        return BoardRow(entry, "reference", first, again)
    for each in again:
        if reason := disagreement(first, each, track):
            return BoardRow(entry, "skeptical", first, again, (each, reason))
    state = "better" if first.is_better(track) else "not_shown"
    return BoardRow(entry, state, first, again)


def standings(name: str, folder: Path = FOLDER) -> list[BoardRow]:
    """Return the standings of a track, the largest gain first.

    Raises:
        UnknownNameError: if the track is unknown.
    """
    track, by_name = load_track(name), entries(name, folder)
    records, reference = read_records(folder / name / RECORDS), by_name[track.reference]
    table = [
        standing(entry, valid(records, entry, reference, track), track)
        for entry in by_name.values()
    ]
    return sorted(table, key=lambda each: -each.gain(track))


def rows(
    name: str,
    lang: str | None = None,
    folder: Path = FOLDER,
    escape: Callable[[str], str] = printable,
) -> list[list[str]]:
    """Return the table of a track, the header first.

    Args:
        escape: escapes what the authors of entries and records wrote.
    """
    track = load_track(name)
    columns = ("entry", f"score_{name}", "effect", "wins", "listed", "checked")
    header = [text(f"leaderboard.{column}", lang) for column in columns]
    table = standings(name, folder)
    return [header, *(_row(each, track, lang, escape) for each in table)]


def to_markdown(name: str, lang: str | None = None, folder: Path = FOLDER) -> str:
    """Return the table of a track for the book, and below it the entries' notes."""
    header, *body = rows(name, lang, folder, markdown)
    lines = [header, ["---"] * len(header), *body]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    table = DATE.sub(lambda date: date[0].replace("-", NO_BREAK), table)
    with_notes = [e for e in entries(name, folder).values() if e.words("note", lang)]
    notes = [
        text(
            "leaderboard.note",
            lang,
            title=markdown(e.words("title", lang)),
            note=markdown(e.words("note", lang)),
        )
        for e in with_notes
    ]
    return "\n".join([table, "", *notes])


def _row(
    each: BoardRow, track: Track, lang: str | None, escape: Callable[[str], str]
) -> list[str]:
    title = escape(each.entry.words("title", lang))
    record = each.record
    if record is None or not record.scores:
        reason = escape(record.fault) if record else ""
        state = text(f"leaderboard.state_{each.state}", lang)
        return [title, "", "", "", f"{state}: {reason}" if reason else state, ""]
    is_reference = each.state == "reference"
    return [
        title,
        _score(median(record.scores), track),
        "" if is_reference else _effect(each.gain(track), track, lang),
        "" if is_reference else f"{record.wins(track)}/{len(record.scores)}",
        _state(each, track, lang, escape),
        _checked(each, lang, escape),
    ]


def _score(score: float, track: Track) -> str:
    return f"{100 * score:.1f}%" if track.is_share else f"{score:.3g}"


def _effect(gain: float, track: Track, lang: str | None) -> str:
    if track.is_share:
        return text(
            "leaderboard.points", lang, points=f"{100 * gain:+.1f}".replace("-", "−")
        )
    return f"× {exp(-gain if track.better == 'lower' else gain):.2f}"


def _state(
    each: BoardRow, track: Track, lang: str | None, escape: Callable[[str], str]
) -> str:
    state = text(f"leaderboard.state_{each.state}", lang)
    if each.doubt is None or each.record is None:
        return state
    again, reason = each.doubt
    before = _effect(each.gain(track), track, lang)
    facts = {"fault": escape(again.fault), "date": escape(again.date)}
    if not again.fault:
        facts["wins"] = f"{again.wins(track)}/{len(again.scores)}"
        facts["after"] = _effect(fmean(again.gains(track)), track, lang)
    return (
        f"{state}: {text(f'leaderboard.doubt_{reason}', lang, before=before, **facts)}"
    )


def _checked(each: BoardRow, lang: str | None, escape: Callable[[str], str]) -> str:
    last = (each.reruns or (each.record,))[-1]
    date = escape(last.date) if last else ""
    if not each.reruns:
        return date
    return text("leaderboard.again", lang, date=date, count=len(each.reruns))
