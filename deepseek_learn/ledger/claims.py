"""The claims ledger, which lists the guide's claims, measurements and verdicts."""

from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..catalog import text
from ..errors import UnknownNameError
from ..report import Report
from . import page
from .results import Result, read_results
from .rows import Row, known_claims
from .wording import BARELY, MET, OUTDATED, VERDICTS, verdict_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

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

    >>> from deepseek_learn import course
    >>> claims = course.ledger()
    >>> len(claims.rows("C9", "zoo")) > 0
    True
    """
    results = read_results(directory)
    entries = [Entry(row, result) for result in results for row in result.rows]
    claims = []
    for name, facts in known_claims().items():
        words = {lang: facts[lang] for lang in ("en", "zh")}
        rows = tuple(entry for entry in entries if entry.row.claim == name)
        figure = facts.get("figure", {})
        claims.append(Claim(name, words, facts["says"], facts["rows"], rows, figure))
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
        says: the claim in short words, in the same form.
        decided_by: the source of the rows that determine the verdict: "guide", "ours"
            or "all".
        rows: the measurements.
        figure_words: short words for the figure that decides, in the same form, and as
            `"row"` the `what` of its row; empty if no row has been chosen.
    """

    name: str
    words: dict[str, str]
    says: dict[str, str]
    decided_by: str
    rows: tuple[Entry, ...]
    figure_words: dict[str, str] = field(default_factory=dict)

    @property
    def deciding(self) -> tuple[Entry, ...]:
        """The rows with a target that determine the verdict."""
        return tuple(
            entry
            for entry in self.rows
            if entry.verdict != "information"
            and self.decided_by in ("all", entry.row.source)
        )

    @property
    def figure(self) -> Entry | None:
        """The deciding row on which the verdict hangs, or None if there is none yet.

        Where several machines measured it, this is the row that is farthest from its
        target.
        """
        what = self.figure_words.get("row")
        rows = [entry for entry in self.deciding if entry.row.what == what]
        return min(rows, key=lambda entry: entry.row.margin, default=None)

    @property
    def verdict(self) -> str:
        """The verdict on the claim, which is one of `VERDICTS`.

        If all deciding rows have the same verdict, the claim has this verdict as well.
        It is "on the mean only" if all values reach their targets, but not all
        intervals do. It is "partly" if only some of the values reach their targets, or
        if all of them do but other rows are outdated and must be measured again.
        """
        verdicts = {entry.verdict for entry in self.deciding}
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

        names = [verdict_text(verdict) for verdict in VERDICTS]
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
        """Return the Markdown of the book's sections, one for each claim."""
        return page.to_markdown(self.claims, lang)

    def _repr_html_(self) -> str:
        table = page.glance(self.claims, links=False)
        return f"<p>{escape(self.why())}</p>{table}"
