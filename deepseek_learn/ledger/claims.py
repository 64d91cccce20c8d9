"""The claims ledger, which lists the guide's claims, measurements and verdicts."""

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..catalog import choose, text
from ..errors import UnknownNameError
from ..report import Report
from . import readings as speed
from .results import Result, read_results
from .rows import Row, known_claims

if TYPE_CHECKING:
    import plotly.graph_objects as go

MET, BARELY, OUTDATED = "met", "on the mean only", "outdated"
VERDICTS = (MET, BARELY, "partly", "missed", "untestable here", "not run")
COLUMNS = (
    "claim", "source", "what", "unit", "target", "better", "measured", "low", "high",
    "interval", "peer", "peer_measured", "n", "readings", "verdict", "date", "note",
    "command",
)  # fmt: skip


def ledger(directory: str | Path | None = None) -> "Ledger":
    """Return all claims with their measurements.

    Args:
        directory: a folder of result files. By default, this is `benchmarks/results` in
            a checkout, or else the results packaged with the library.

    Raises:
        DamagedFileError: if a file is not a result file; the message includes the file
            name and the reason.
    """
    results = read_results(directory)
    entries = [Entry(row, result) for result in results for row in result.rows]
    claims = []
    for name, facts in known_claims().items():
        words = {lang: facts[lang] for lang in ("en", "zh")}
        rows = tuple(entry for entry in entries if entry.row.claim == name)
        claims.append(Claim(name, words, facts["rows"], rows))
    return Ledger(tuple(claims))


@dataclass(frozen=True)
class Entry:
    """A row, together with the result that contains it."""

    row: Row
    result: Result

    @property
    def verdict(self) -> str:
        """The verdict on the row, or "outdated" if the script must be run again."""
        return OUTDATED if self.result.outdated else self.row.verdict

    @property
    def origin(self) -> str:
        """The machine on which the row was measured, and the date."""
        return f"{self.machine}, {self.row.date or self.result.date}"

    @property
    def machine(self) -> str:
        """A one-line description of the machine."""
        facts = self.row.machine
        assert facts is not None  # every row in a file has a machine
        gpu = f", {facts['gpu']}" if facts["gpu"] else ""
        size = f"{facts['cores']} cores, {facts['threads']} threads"
        return f"{facts['cpu']}, {size}{gpu}, torch {facts['torch']}"

    @property
    def protocol(self) -> str:
        """The measurement protocol; for an outdated result, the reason comes first."""
        outdated, protocol = self.result.outdated, self.result.protocol
        return protocol if outdated is None else f"{outdated}\n\n{protocol}"

    def to_dict(self) -> dict[str, object]:
        """Return the row's values for the columns of the ledger table."""
        facts = vars(self.row) | {"verdict": self.verdict, "machine": self.machine}
        facts |= {"date": self.row.date or self.result.date}
        facts |= {"readings": len(self.row.readings) or None}
        facts |= {"command": self.result.command}
        return {name: facts[name] for name in (*COLUMNS, "machine")}


@dataclass(frozen=True)
class Claim:
    """A claim made in the guide.

    Attributes:
        name: the name of the claim, from "C1" to "C19".
        words: the claim as stated in the guide, as `{"en": ..., "zh": ...}`.
        decided_by: the source of the rows that determine the verdict: "guide", "ours"
            or "all".
        rows: the measurements.
    """

    name: str
    words: dict[str, str]
    decided_by: str
    rows: tuple[Entry, ...]

    @property
    def verdict(self) -> str:
        """The verdict on the claim, which is one of `VERDICTS`.

        If all deciding rows have the same verdict, the claim has this verdict as well.
        It is "on the mean only" if all values reach their targets, but not all
        intervals do. It is "partly" if only some of the values reach their targets, or
        if all of them do but other rows are outdated and must be measured again.
        """
        verdicts = {
            entry.verdict
            for entry in self.rows
            if entry.verdict != "information"
            and self.decided_by in ("all", entry.row.source)
        }
        if not verdicts - {OUTDATED}:
            return "not run"
        if len(verdicts) == 1:
            return verdicts.pop()
        if verdicts == {MET, BARELY}:
            return BARELY
        return "partly" if verdicts & {MET, BARELY} else "missed"


@dataclass(frozen=True)
class Ledger(Report):
    """All claims, in the same order as in the guide."""

    claims: tuple[Claim, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per measurement, and one row for each claim that has none."""
        rows: list[dict[str, object]] = []
        for claim in self.claims:
            verdict: dict[str, object] = {"claim_verdict": claim.verdict}
            rows += [entry.to_dict() | verdict for entry in claim.rows]
            if not claim.rows:
                rows.append({"claim": claim.name} | verdict)
        frame = pd.DataFrame(rows, columns=[*COLUMNS, "machine", "claim_verdict"])
        return frame.set_index("claim")

    def rows(self, claim: str, benchmark: str = "") -> pd.DataFrame:
        """Return the measurements of one claim.

        Args:
            claim: the name of the claim.
            benchmark: only include rows whose command contains this text.

        Raises:
            UnknownNameError: if there is no such claim; the message lists all claims.
        """
        known = [c.name for c in self.claims]
        if claim not in known:
            raise UnknownNameError("claim", claim, known)
        frame = self.to_frame().loc[[claim]].reset_index(drop=True)
        frame = frame[frame["command"].fillna("").str.contains(benchmark, regex=False)]
        columns = ["what", "unit", "target", "measured", "low", "high", "verdict"]
        if frame["readings"].notna().any():
            columns.append("readings")
        if frame["machine"].nunique() > 1:
            frame["machine"] = frame["machine"].str.split(",").str[0]
            columns.append("machine")
        return frame[columns].reset_index(drop=True)

    def verdict(self, claim: str) -> str:
        """Return the verdict on one claim, which is one of `VERDICTS`."""
        self.rows(claim)  # raises for an unknown name
        return next(c.verdict for c in self.claims if c.name == claim)

    def plot(self) -> "go.Figure":
        """Plot the number of claims per verdict (plotly)."""
        import plotly.graph_objects as go

        names = [_verdict_text(verdict) for verdict in VERDICTS]
        bars = go.Bar(x=names, y=[self.count(v) for v in VERDICTS])
        return go.Figure(bars)

    def why(self) -> str:
        counts: dict[str, Any] = {
            v.replace(" here", "").replace(" ", "_"): self.count(v) for v in VERDICTS
        }
        return text("ledger.summary", count=len(self.claims), **counts)

    def count(self, verdict: str) -> int:
        """Return the number of claims with this verdict."""
        return sum(claim.verdict == verdict for claim in self.claims)

    def to_markdown(self, lang: str | None = None) -> str:
        """Return the Markdown content for the book's claims page."""
        return "\n\n".join(_section(claim, lang) for claim in self.claims) + "\n"

    def _repr_html_(self) -> str:
        cells = "".join(
            f"<tr><td>{claim.name}</td><td>{html.escape(choose(claim.words))}</td>"
            f"<td><b>{_verdict_text(claim.verdict)}</b></td></tr>"
            for claim in self.claims
        )
        return f"<p>{html.escape(self.why())}</p><table>{cells}</table>"


def _section(claim: Claim, lang: str | None) -> str:
    parts = [
        f"## {claim.name}: {_verdict_text(claim.verdict, lang)}",
        f"{text('ledger.guide_says', lang)}:\n\n> {choose(claim.words, lang)}",
    ]
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in claim.rows:
        groups.setdefault((entry.origin, entry.result.command), []).append(entry)
    for (origin, command), entries in groups.items():
        head = text("ledger.columns", lang).split(" | ")
        lines = [head, ["---"] * len(head)] + [_cells(entry, lang) for entry in entries]
        parts.append(text("ledger.measured_on", lang, origin=origin))
        parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
        block = f"```bash\n{command}\n```"
        parts.append(f"{text('ledger.command', lang)}:\n\n{block}")
        if entries[0].protocol:
            title, words = text("ledger.protocol", lang), entries[0].protocol
            parts.append(f"````{{admonition}} {title}\n:class: dropdown\n{words}\n````")
    return "\n\n".join(parts)


def _cells(entry: Entry, lang: str | None) -> list[str]:
    row = entry.row
    guide = f" ({text('ledger.guide_row', lang)})" if row.source == "guide" else ""
    sign = "≤" if row.better == "lower" else "≥"
    peer = "–" if row.peer is None else f"{row.peer}: {_number(row.peer_measured)}"
    cells = [
        row.what + guide,
        "–" if row.target is None else f"{sign} {row.target:g}",
        _measured(row),
        row.unit,
        f"**{_verdict_text(entry.verdict, lang)}**",
        peer,
        _number(row.n),
        _note(entry, lang),
    ]
    # a "|" or a newline inside a cell would break the table
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]


def _note(entry: Entry, lang: str | None) -> str:
    """Return the note, the readings, and whether the interval contains the target."""
    row = entry.row
    notes = [row.note] if row.note else []
    notes += _readings(row, lang)
    if _crosses(row) and entry.verdict == "missed":  # the other verdicts imply this
        notes.append(text("ledger.crosses", lang))
    return "; ".join(notes)


def _crosses(row: Row) -> bool:
    """Return whether the target lies within the interval."""
    if row.low is None or row.target is None or row.high is None:
        return False
    return row.low < row.target < row.high


def _readings(row: Row, lang: str | None) -> list[str]:
    """List a speed row's readings and their times, and say whether more are needed."""
    if not row.readings:
        return []
    each = [f"{_number(r.measured)} ({r.time[:16]})" for r in row.readings]
    notes = [text("ledger.readings", lang, readings=", ".join(each))]
    count = speed.hours(row.readings)
    if count < speed.HOURS:
        facts = {"count": count, "needed": speed.HOURS}
        notes.append(text("ledger.few_readings", lang, **facts))
    return notes


def _measured(row: Row) -> str:
    if row.low is None or row.high is None:
        return _number(row.measured)
    bounds = f"[{_number(row.low)}, {_number(row.high)}]"
    return f"{_number(row.measured)} {bounds} {row.interval or ''}".rstrip()


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _verdict_text(verdict: str, lang: str | None = None) -> str:
    return text(f"verdict.{verdict.replace(' ', '_')}", lang)
