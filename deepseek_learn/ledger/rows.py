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
COMPUTED = ("verdict",)  # in the files for their readers; never read from them


@dataclass(frozen=True, kw_only=True)
class Row:
    """One measurement.

    Attributes:
        claim: "C1" to "C19".
        source: whose claim the target is: "guide" or "ours".
        what: what was measured; with `claim` and `source` it identifies the row.
        better: "lower" or "higher".
        target: None: for information.
        measured: None: untestable here, with a `note` saying why.
        low, high, interval: the bounds, and what they are ("quartiles", "95 % t").
        peer, peer_measured: the best peer, and its value.
        n: number of values behind `measured`.
        date: ISO 8601; None until written, then the day of writing.
        machine: as from `results.machine()`; None until written, then this one.
        readings: of a speed row (see `readings.py`).
        layout: the fields in the order of the file that the row came from, so that saving
            a file again changes no line but those whose values changed.

    Raises:
        ValueError: naming the invalid field.
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
        """From target, value and interval; a value equal to the target reaches it.

        "met": the value reaches the target, and so does the worse end of its interval, if
        there is one; "on the mean only": the value does, but not the worse end, or it is a
        speed row with readings from fewer than `readings.HOURS` hours; otherwise "missed".
        A row without a target is "information"; without a measurement, "untestable here".
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
        """What identifies a row on its machine; rename a row if its measurement changes."""
        return self.claim, self.source, self.what

    def at(self, time: str) -> "Row":
        """The same measurement as a speed row, with one reading taken at `time`."""
        if self.measured is None:
            return self
        return self.with_readings((Reading.of(self, time),))

    def on(self, machine: Mapping[str, Any], date: str) -> "Row":
        """The row of a run that has just ended on `machine`; a row's own date stays."""
        readings = tuple(
            replace(r, machine=r.machine or machine) for r in self.readings
        )
        machine, date = self.machine or machine, self.date or date
        return replace(self, readings=readings, machine=machine, date=date)

    def with_readings(self, readings: tuple[Reading, ...]) -> "Row":
        """These readings; value and interval are computed from them."""
        return replace(self, readings=readings, **summary(readings))

    @classmethod
    def from_json(cls, content: Any) -> "Row":
        """A row of a result file, where every row names its machine.

        Raises:
            ValueError: saying what is wrong with it.
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
        """The row as it stands in a file, with its verdict."""
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
    """`claims.toml`: claim → `{"en", "zh", "rows"}`."""
    return tomllib.loads(CLAIMS.read_text(encoding="utf-8"))


def _require(valid: bool, reason: str) -> None:
    if not valid:
        raise ValueError(reason)
