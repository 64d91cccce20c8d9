"""A claim of the guide, and the figures that were measured for it."""

from dataclasses import dataclass, field

from .results import Result
from .rows import Row

MET, BARELY, OUTDATED = "met", "on the mean only", "outdated"
VERDICTS = (MET, BARELY, "partly", "missed", "untestable here", "not run")
RANKS = (*VERDICTS, OUTDATED, "information")  # the order in which verdicts sort


@dataclass(frozen=True)
class Figure:
    """A row of the ledger: one figure, its target, and a column for each machine.

    Attributes:
        result: the result of the script that measured it.
        columns: what each machine measured. They share claim, source, words, unit and
            target.
    """

    result: Result
    columns: tuple[Row, ...]

    @property
    def row(self) -> Row:
        """The column that is farthest from its target."""
        return min(self.columns, key=lambda row: row.margin)

    @property
    def what(self) -> str:
        """A description of what was measured."""
        return self.columns[0].what

    @property
    def verdicts(self) -> tuple[str, ...]:
        """The verdict of each column, or "outdated" if the script must be run again."""
        outdated = self.result.outdated
        return tuple(OUTDATED if outdated else row.verdict for row in self.columns)

    @property
    def verdict(self) -> str:
        """The worst verdict of its columns, of those that decide if there are any."""
        return max(self.judged or self.verdicts, key=RANKS.index)

    @property
    def judged(self) -> tuple[str, ...]:
        """The verdicts that decide, one for each machine."""
        return tuple(verdict for verdict in self.verdicts if verdict != "information")


@dataclass(frozen=True)
class Claim:
    """A claim made in the guide.

    Attributes:
        name: the name of the claim, from "C1" to "C19".
        words: the claim as stated in the guide, as `{"en": ..., "zh": ...}`.
        says: the claim in short words, in the same form.
        decided_by: the source of the figures that determine the verdict: "guide",
            "ours" or "all".
        rows: the figures that have a target.
        details: the figures that have none.
        figure_words: short words for the figure that decides, in the same form, and as
            `"row"` its `what`; empty if no figure has been chosen.
    """

    name: str
    words: dict[str, str]
    says: dict[str, str]
    decided_by: str
    rows: tuple[Figure, ...]
    details: tuple[Figure, ...] = ()
    figure_words: dict[str, str] = field(default_factory=dict)

    @property
    def deciding(self) -> tuple[Figure, ...]:
        """The figures that determine the verdict."""
        return tuple(
            figure
            for figure in self.rows
            if figure.judged and self.decided_by in ("all", figure.columns[0].source)
        )

    @property
    def figure(self) -> Figure | None:
        """The one figure on which the verdict hangs, or None if there is none yet."""
        what = self.figure_words.get("row")
        return next((figure for figure in self.deciding if figure.what == what), None)

    @property
    def verdict(self) -> str:
        """The verdict on the claim, which is one of `VERDICTS`.

        If all deciding figures have the same verdict on all machines, the claim has
        this verdict as well. It is "on the mean only" if all values reach their
        targets, but not all intervals do. It is "partly" if only some of the values
        reach their targets, or if all of them do but other figures are outdated and
        must be measured again.
        """
        verdicts = {verdict for figure in self.deciding for verdict in figure.judged}
        if not verdicts - {OUTDATED}:
            return "not run"
        if len(verdicts) == 1:
            return verdicts.pop()
        if verdicts == {MET, BARELY}:
            return BARELY
        return "partly" if verdicts & {MET, BARELY} else "missed"
