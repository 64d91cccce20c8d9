"""The claims ledger, which lists the guide's claims, measurements and verdicts."""

from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..catalog import text
from ..errors import UnknownNameError
from ..report import Report
from . import page
from .claim import COLUMNS, VERDICTS, Claim, Entry
from .results import read_results
from .rows import known_claims
from .wording import verdict_text

if TYPE_CHECKING:
    import plotly.graph_objects as go


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
