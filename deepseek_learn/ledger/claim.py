"""A claim of the guide and the rows that were measured for it."""

from dataclasses import dataclass, field

from .results import Result
from .rows import Row

MET, BARELY, OUTDATED = "met", "on the mean only", "outdated"
VERDICTS = (MET, BARELY, "partly", "missed", "untestable here", "not run")
RANKS = (*VERDICTS, OUTDATED, "information")  # the order in which verdicts sort
COLUMNS = (
    "claim", "source", "what", "unit", "target", "better", "measured", "low", "high",
    "interval", "peer", "peer_measured", "n", "readings", "verdict", "date", "note",
    "command",
)  # fmt: skip


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
