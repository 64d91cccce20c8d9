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
class Standing:
    """Where an entry stands.

    Attributes:
        entry: the entry.
        state: one of `STATES`.
        record: its first valid record; None if it is pending.
        reruns: the records that were to confirm it.
        doubt: the re-run that does not, and why; see `records.disagreement`.
    """

    entry: Entry
    state: str
    record: Record | None = None
    reruns: tuple[Record, ...] = ()
    doubt: tuple[Record, str] | None = None

    def gain(self, runner: Track) -> float:
        """Return the mean gain over the reference; minus infinity without scores."""
        scored = self.record is not None and self.record.scores
        if not scored or self.record is None:
            return float("-inf")
        return fmean(self.record.gains(runner))


def standing(entry: Entry, records: Sequence[Record], runner: Track) -> Standing:
    """Decide where an entry stands.

    Args:
        records: the valid ones of this entry, the earliest first.
    """
    firsts = [each for each in records if not each.rerun]
    if not firsts:
        return Standing(entry, "pending")
    first, again = firsts[0], tuple(each for each in records if each.rerun)
    if first.fault:
        return Standing(entry, "refused", first, again)
    if entry.name == runner.reference:
        return Standing(entry, "reference", first, again)
    for each in again:
        if reason := disagreement(first, each, runner):
            return Standing(entry, "skeptical", first, again, (each, reason))
    state = "better" if first.is_better(runner) else "not_shown"
    return Standing(entry, state, first, again)


def standings(name: str, folder: Path = FOLDER) -> list[Standing]:
    """Return the standings of a track, the largest gain first.

    Raises:
        UnknownNameError: if the track is unknown.
    """
    runner, known = load_track(name), entries(name, folder)
    records, reference = read_records(folder / name / RECORDS), known[runner.reference]
    table = [
        standing(entry, valid(records, entry, reference, runner), runner)
        for entry in known.values()
    ]
    return sorted(table, key=lambda each: -each.gain(runner))


def rows(
    name: str,
    lang: str | None = None,
    folder: Path = FOLDER,
    shown: Callable[[str], str] = printable,
) -> list[list[str]]:
    """Return the table of a track, the header first.

    Args:
        shown: escapes what the authors of entries and records wrote.
    """
    runner = load_track(name)
    columns = ("entry", f"score_{name}", "effect", "wins", "listed", "checked")
    header = [text(f"leaderboard.{column}", lang) for column in columns]
    table = standings(name, folder)
    return [header, *(_row(each, runner, lang, shown) for each in table)]


def to_markdown(name: str, lang: str | None = None, folder: Path = FOLDER) -> str:
    """Return the table of a track for the book, and below it the entries' notes."""
    header, *body = rows(name, lang, folder, markdown)
    lines = [header, ["---"] * len(header), *body]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    table = DATE.sub(lambda date: date[0].replace("-", NO_BREAK), table)
    noted = [e for e in entries(name, folder).values() if e.words("note", lang)]
    notes = [
        text(
            "leaderboard.note",
            lang,
            title=markdown(e.words("title", lang)),
            note=markdown(e.words("note", lang)),
        )
        for e in noted
    ]
    return "\n".join([table, "", *notes])


def _row(
    each: Standing, runner: Track, lang: str | None, shown: Callable[[str], str]
) -> list[str]:
    title = shown(each.entry.words("title", lang))
    record = each.record
    if record is None or not record.scores:
        reason = shown(record.fault) if record else ""
        state = text(f"leaderboard.state_{each.state}", lang)
        return [title, "", "", "", f"{state}: {reason}" if reason else state, ""]
    is_reference = each.state == "reference"
    return [
        title,
        _score(median(record.scores), runner),
        "" if is_reference else _effect(each.gain(runner), runner, lang),
        "" if is_reference else f"{record.wins(runner)}/{len(record.scores)}",
        _state(each, runner, lang, shown),
        _checked(each, lang, shown),
    ]


def _score(score: float, runner: Track) -> str:
    return f"{100 * score:.1f}%" if runner.is_share else f"{score:.3g}"


def _effect(gain: float, runner: Track, lang: str | None) -> str:
    if runner.is_share:
        return text(
            "leaderboard.points", lang, points=f"{100 * gain:+.1f}".replace("-", "−")
        )
    return f"× {exp(-gain if runner.better == 'lower' else gain):.2f}"


def _state(
    each: Standing, runner: Track, lang: str | None, shown: Callable[[str], str]
) -> str:
    state = text(f"leaderboard.state_{each.state}", lang)
    if each.doubt is None or each.record is None:
        return state
    again, reason = each.doubt
    before = _effect(each.gain(runner), runner, lang)
    facts = {"fault": shown(again.fault), "date": shown(again.date)}
    if not again.fault:
        facts["wins"] = f"{again.wins(runner)}/{len(again.scores)}"
        facts["after"] = _effect(fmean(again.gains(runner)), runner, lang)
    return (
        f"{state}: {text(f'leaderboard.doubt_{reason}', lang, before=before, **facts)}"
    )


def _checked(each: Standing, lang: str | None, shown: Callable[[str], str]) -> str:
    last = (each.reruns or (each.record,))[-1]
    date = shown(last.date) if last else ""
    if not each.reruns:
        return date
    return text("leaderboard.again", lang, date=date, count=len(each.reruns))
