"""A row of a benchmark result: what was measured, against which target, and the verdict."""

import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .readings import HOURS, Reading, finite_or_none, from_list, hours, summary

CLAIMS = Path(__file__).parent / "claims.toml"
NUMBERS = ("target", "measured", "low", "high", "peer_measured", "n")
TEXTS = ("peer", "note", "interval", "date")
CHOICES = {"source": ("guide", "ours"), "better": ("lower", "higher")}
MACHINE = ("cpu", "cores", "gpu", "torch", "threads")
COMPUTED = ("verdict",)  # written to the files for human readers; never read back


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement.

    Attributes:
        claim: "C1" to "C19".
        source: whose claim the target is: "guide" or "ours".
        what: what was measured; together with `claim` and `source` it identifies the
            row.
        better: "lower" or "higher".
        target: the target value; None if the row is informational only.
        measured: the measured value; None if it cannot be tested here, in which case
            `note` says why.
        low, high, interval: the bounds, and what kind they are ("quartiles", "95 % t").
        peer, peer_measured: the best peer, and its value.
        n: the number of values behind `measured`.
        date: in ISO 8601; None until the row is written, then the day of writing.
        machine: in the format returned by `results.machine()`; None until the row is
            written, then the current machine.
        readings: the readings behind a speed row (see `readings.py`).
        layout: the order of the fields in the file that the row came from, so that
            saving the file again changes only the lines whose values changed.

    Raises:
        ValueError: if a field is invalid; the message names it.
    """

    claim: str
    source: str
    what: str
    unit: str
    better: str
    target: float | None = None
    measured: float | None
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    peer: str | None = None
    peer_measured: float | None = None
    n: float | None = None
    note: str | None = None
    date: str | None = None
    machine: Mapping[str, Any] | None = None
    readings: tuple[Reading, ...] = ()
    layout: tuple[str, ...] = field(default=(), repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("claim", "what", "unit"):
            _require(isinstance(getattr(self, name), str), f"{name!r} is not a text")
        _require(self.claim in known_claims(), f"no claim {self.claim!r}")
        for name, values in CHOICES.items():
            known = getattr(self, name) in values
            _require(known, f"{name!r} is not {' or '.join(values)}")
        for name in NUMBERS:
            valid = finite_or_none(getattr(self, name))
            _require(valid, f"{name!r} is not a finite number or null")
        for name in TEXTS:
            valid = isinstance(getattr(self, name), str | None)
            _require(valid, f"{name!r} is not a text or null")
        if self.machine is not None:
            named = isinstance(self.machine, Mapping) and set(MACHINE) <= {
                *self.machine
            }
            _require(named, f"'machine' lacks one of {', '.join(MACHINE)}")
        explained = self.measured is not None or bool(self.note)
        _require(explained, "nothing is measured and no 'note' says why")

    @property
    def verdict(self) -> str:
        """The verdict, computed from target, value and interval.

        It is "met" if the value reaches the target (or equals it) and so does the worse
        end of its interval, if there is one. It is "on the mean only" if the value does
        but not the worse end, or if a speed row has readings from fewer than
        `readings.HOURS` hours. Otherwise it is "missed". A row without a target is
        "information"; one with a target but no measurement is "untestable here".
        """
        if self.target is None:
            return "information"
        if self.measured is None:
            return "untestable here"
        if not self._reaches(self.measured):
            return "missed"
        worse = self.high if self.better == "lower" else self.low
        certain = worse is None or self._reaches(worse)
        enough = not self.readings or hours(self.readings) >= HOURS
        return "met" if certain and enough else "on the mean only"

    def _reaches(self, value: float) -> bool:
        assert self.target is not None
        lower = self.better == "lower"
        return value <= self.target if lower else value >= self.target

    @property
    def key(self) -> tuple[str, str, str]:
        """The row's identity on its machine; rename it if what it measures changes."""
        return self.claim, self.source, self.what

    def at(self, time: str) -> "Row":
        """Return the measurement as a speed row, with one reading taken at `time`."""
        if self.measured is None:
            return self
        return self.with_readings((Reading.of(self, time),))

    def on(self, machine: Mapping[str, Any], date: str) -> "Row":
        """Fill in the machine and date of a run; a row that has its own keeps them."""
        readings = tuple(
            replace(r, machine=r.machine or machine) for r in self.readings
        )
        machine, date = self.machine or machine, self.date or date
        return replace(self, readings=readings, machine=machine, date=date)

    def with_readings(self, readings: tuple[Reading, ...]) -> "Row":
        """Return the row with these readings and the value and interval they give."""
        return replace(self, readings=readings, **summary(readings))

    @classmethod
    def from_json(cls, content: Any) -> "Row":
        """Parse a row of a result file, in which every row names its machine.

        Raises:
            ValueError: if the content is invalid; the message says why.
        """
        _require(isinstance(content, dict), "it is not an object")
        absent = [name for name in REQUIRED if content.get(name, ...) is ...]
        _require(not absent, f"there is no {', '.join(absent)}")
        unknown = [name for name in content if name not in (*FIELDS, *COMPUTED)]
        _require(not unknown, f"no row has a field {', '.join(unknown)}")
        facts = {name: content[name] for name in FIELDS if name in content}
        _require(facts["machine"] is not None, "'machine' is null")
        readings = facts.pop("readings", None)
        row = cls(**facts, layout=tuple(content))
        return row if readings is None else row.with_readings(from_list(readings))

    def to_json(self) -> dict[str, Any]:
        """Return the row as it is stored in a file, with its verdict."""
        values = {name: getattr(self, name) for name in FIELDS}
        values["readings"] = [vars(reading) for reading in self.readings] or None
        values["verdict"] = self.verdict
        names = dict.fromkeys((*self.layout, *values))
        optional = [*FIELDS] if self.layout else ["readings"]
        empty = {n for n in optional if values[n] is None and n not in self.layout}
        return {name: values[name] for name in names if name not in empty}


FIELDS = tuple(f.name for f in fields(Row) if f.name != "layout")
REQUIRED = ("claim", "source", "what", "unit", "better", "machine", *NUMBERS)


@functools.cache
def known_claims() -> dict[str, Any]:
    """Load `claims.toml` as a map from each claim to `{"en", "zh", "rows"}`."""
    return tomllib.loads(CLAIMS.read_text(encoding="utf-8"))


def _require(valid: bool, reason: str) -> None:
    if not valid:
        raise ValueError(reason)
