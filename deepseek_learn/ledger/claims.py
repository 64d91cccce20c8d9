"""The claims ledger, which lists the guide's claims, figures and verdicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..catalog import text
from ..errors import UnknownNameError
from ..report import Report
from . import page
from .claim import VERDICTS, Claim, Figure
from .results import Result, read_results
from .rows import Row, by_figure, known_claims
from .storage import machine_name
from .wording import verdict_text

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMNS = (
    "claim", "source", "what", "unit", "target", "better", "measured", "low", "high",
    "interval", "peer", "peer_measured", "n", "readings", "verdict", "date", "note",
    "command", "machine",
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
    figures = [
        Figure(result, columns)
        for result in read_results(directory)
        for columns in by_figure(result.rows)
    ]
    return Ledger(tuple(_claim(name, figures) for name in known_claims()))


def _claim(name: str, figures: Sequence[Figure]) -> Claim:
    facts = known_claims()[name]
    words = {lang: facts[lang] for lang in ("en", "zh")}
    own = [figure for figure in figures if figure.columns[0].claim == name]
    rows = tuple(figure for figure in own if figure.columns[0].target is not None)
    details = tuple(figure for figure in own if figure.columns[0].target is None)
    chosen = facts.get("figure", {})
    return Claim(name, words, facts["says"], facts["rows"], rows, details, chosen)


def _frame_row(row: Row, verdict: str, result: Result) -> dict[str, object]:
    """Return the values of the columns of the ledger's table."""
    assert row.machine is not None  # every row in a file has a machine
    facts = vars(row) | {"verdict": verdict, "machine": machine_name(row.machine)}
    facts |= {"date": row.date or result.date, "command": result.command}
    facts |= {"readings": len(row.readings) or None}
    return {name: facts[name] for name in COLUMNS}


@dataclass(frozen=True)
class Ledger(Report):
    """All claims, in the same order as in the guide."""

    claims: tuple[Claim, ...]

    def to_frame(self) -> pd.DataFrame:
        """Return one row per figure and machine, and one for a claim without any.

        The figures that have a target come first, then the details.
        """
        rows: list[dict[str, object]] = []
        for claim in self.claims:
            verdict: dict[str, object] = {"claim_verdict": claim.verdict}
            figures = (*claim.rows, *claim.details)
            rows += [
                _frame_row(row, judged, figure.result) | verdict
                for figure in figures
                for row, judged in zip(figure.columns, figure.verdicts, strict=True)
            ]
            if not figures:
                rows.append({"claim": claim.name} | verdict)
        frame = pd.DataFrame(rows, columns=[*COLUMNS, "claim_verdict"])
        return frame.set_index("claim")

    def rows(self, claim: str, benchmark: str = "") -> pd.DataFrame:
        """Return the measurements of one claim, one for each machine.

        Those that have a target come first, then the details.

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
