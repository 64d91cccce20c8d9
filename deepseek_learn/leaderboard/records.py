"""Records of races, their sign test, and the comparison of a race with its re-run.

A record belongs to one version of an entry's code, one version of the reference's and
one of the track. When any of them changes, it no longer counts, and the entry is
pending again.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean, variance
from typing import Any

from ..files import atomic_write
from .entry import Entry
from .track import Track

SEEDS = 8  # seeds of a race
LEVEL = 0.01  # of the sign test; with eight seeds it takes eight wins
MAX_STANDARD_ERRORS = 3.0  # by which the mean gains of two races may differ
RERUN_WINS = 7  # of eight: the least number for a re-run of a better entry


@dataclass(frozen=True)
class Record:
    """The races of an entry and of the reference over the same fresh seeds.

    Attributes:
        sha256, reference_sha256: the code and settings of the two entries.
        version: the track's version.
        seeds: the seeds of the problems.
        scores, reference_scores: one per seed; empty if the entry failed.
        fault: the sentence that says why it failed.
        rerun: whether the race repeats an earlier one.
        facts: the machine, the date and the library's versions.
    """

    entry: str
    sha256: str
    reference_sha256: str
    version: int
    seeds: tuple[int, ...]
    scores: tuple[float, ...]
    reference_scores: tuple[float, ...]
    fault: str = ""
    rerun: bool = False
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def date(self) -> str:
        """The day of the race."""
        return str(self.facts.get("date", ""))

    def gains(self, track: Track) -> list[float]:
        """Return how much better than the reference the entry is, by seed."""
        pairs = zip(self.scores, self.reference_scores, strict=True)
        return [track.gain(score, reference) for score, reference in pairs]

    def wins(self, track: Track) -> int:
        """Count the seeds on which the entry is better; a tie is no win."""
        return sum(gain > 0 for gain in self.gains(track))

    def is_better(self, track: Track) -> bool:
        """Whether the sign test shows that the entry is better."""
        return bool(self.scores) and (
            sign_test(self.wins(track), len(self.scores)) < LEVEL
        )

    def belongs_to(self, entry: Entry, reference: Entry, track: Track) -> bool:
        """Whether this is a record of this code, against this reference."""
        ours = self.entry, self.sha256, self.reference_sha256, self.version
        return ours == (entry.name, entry.sha256, reference.sha256, track.version)


def sign_test(wins: int, count: int) -> float:
    """Return the probability of at least `wins` of `count` if nothing is better.

    Raises:
        ValueError: if `wins` is not between 0 and `count`, or `count` is below 1.
    """
    if count < 1 or not 0 <= wins <= count:
        raise ValueError(
            f"wins must be between 0 and count, which must be at least 1; got {wins} "
            f"of {count}."
        )
    return sum(math.comb(count, k) for k in range(wins, count + 1)) / 2**count


def disagreement(first: Record, again: Record, track: Track) -> str:
    """Return why a re-run does not confirm a record, or "" if it does.

    The key is that of a message in the catalog: "fault", "wins" or "gain".
    """
    if again.fault:
        return "fault"
    if first.is_better(track) and again.wins(track) < RERUN_WINS:
        return "wins"
    a, b = first.gains(track), again.gains(track)
    error = math.sqrt(variance(a) / len(a) + variance(b) / len(b))
    difference = abs(fmean(a) - fmean(b))
    return "gain" if difference > MAX_STANDARD_ERRORS * error + track.slack else ""


def read_records(path: Path) -> list[Record]:
    """Read a track's records, the earliest first; a damaged line is an error."""
    if not path.exists():
        return []
    lines = path.read_text("utf-8").splitlines()
    return [_record(json.loads(line)) for line in lines if line.strip()]


def add_record(path: Path, record: Record) -> None:
    """Append a record to a track's file, atomically."""
    before = path.read_text("utf-8") if path.exists() else ""
    with atomic_write(path) as temporary:
        line = json.dumps(asdict(record), ensure_ascii=False)
        temporary.write_text(f"{before}{line}\n", "utf-8")


def valid(
    records: Sequence[Record], entry: Entry, reference: Entry, track: Track
) -> list[Record]:
    """Return the records that belong to this version of an entry."""
    return [each for each in records if each.belongs_to(entry, reference, track)]


def _record(line: dict[str, Any]) -> Record:
    tuples = ("seeds", "scores", "reference_scores")
    return Record(**line | {name: tuple(line[name]) for name in tuples})
