"""One measurement of a benchmark: a figure on one machine, its target and its verdict."""

import functools
import math
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .readings import HOURS, Reading, finite_or_none, hours, summary

CLAIMS = Path(__file__).parent / "claims.toml"
NUMBERS = ("target", "measured", "low", "high", "peer_measured", "n")
TEXTS = ("peer", "note", "interval", "date", "choices")
CHOICES = {"source": ("guide", "ours"), "better": ("lower", "higher")}
MACHINE = ("cpu", "cores", "gpu", "torch", "threads")
FIGURE = ("claim", "source", "what", "unit", "better", "target")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A figure, as measured on one machine.

    Attributes:
        claim: the claim to which the measurement belongs, from "C1" to "C19".
        source: the source of the target, which is "guide" or "ours".
        what: a description of what was measured. Together with `claim` and `source`, it
            identifies the row.
        better: "lower" or "higher".
        target: the target value, or None if the row is a detail that decides nothing.
        measured: the measured value, or None if it cannot be measured on this machine,
            in which case `note` gives the reason.
        low, high, interval: the bounds and type of the interval ("quartiles",
            "95 % t").
        peer, peer_measured: the best peer and its measured value.
        n: the number of values from which `measured` was computed.
        choices: what was chosen by looking at these data or problems, or None if they
            were held out. The row can then be missed, but it cannot be met.
        date: the date in ISO 8601. If it is None, the current date is filled in when
            the row is written.
        machine: the machine, in the format of `results.machine()`. If it is None, the
            current machine is filled in when the row is written.
        readings: the readings of a speed row (see `readings.py`).

    Raises:
        ValueError: if a field is invalid; the message names the field.
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
    choices: str | None = None
    date: str | None = None
    machine: Mapping[str, Any] | None = None
    readings: tuple[Reading, ...] = ()

    def __post_init__(self) -> None:
        for name in ("claim", "what", "unit"):
            _require(isinstance(getattr(self, name), str), f"{name!r} is not a string")
        _require(self.claim in known_claims(), f"there is no claim {self.claim!r}")
        for name, values in CHOICES.items():
            known = getattr(self, name) in values
            _require(known, f"{name!r} is not {' or '.join(values)}")
        for name in NUMBERS:
            valid = finite_or_none(getattr(self, name))
            _require(valid, f"{name!r} is not a finite number or null")
        for name in TEXTS:
            valid = isinstance(getattr(self, name), str | None)
            _require(valid, f"{name!r} is not a string or null")
        if self.machine is not None:
            named = isinstance(self.machine, Mapping) and set(MACHINE) <= {
                *self.machine
            }
            _require(named, f"'machine' lacks one of {', '.join(MACHINE)}")
        explained = self.measured is not None or bool(self.note)
        _require(explained, "'measured' is null, but no 'note' gives the reason")

    @property
    def verdict(self) -> str:
        """The verdict, which is computed from the target, the value and the interval.

        It is "met" if the value and the worse end of the interval (if there is one)
        reach the target. It is "on the mean only" if the value reaches the target but
        the worse end of the interval does not, or if a speed row has fewer than
        `readings.HOURS` readings that are at least an hour apart. If the value does not
        reach the target, the verdict is "missed". A row without a target is
        "information", and so is one that reaches its target on data on which `choices`
        were made. A row with a target but no measurement is "untestable here".
        """
        if self.target is None:
            return "information"
        if self.measured is None:
            return "untestable here"
        if not self._reaches(self.measured):
            return "missed"
        if self.choices:
            return "information"
        worse = self.high if self.better == "lower" else self.low
        certain = worse is None or self._reaches(worse)
        enough = not self.readings or hours(self.readings) >= HOURS
        return "met" if certain and enough else "on the mean only"

    def _reaches(self, value: float) -> bool:
        assert self.target is not None
        lower = self.better == "lower"
        return value <= self.target if lower else value >= self.target

    @property
    def margin(self) -> float:
        """How far the value is beyond its target; negative if it falls short of it.

        A row without a target or a value has a margin of minus infinity.
        """
        if self.target is None or self.measured is None:
            return -math.inf
        beyond = self.measured - self.target
        return -beyond if self.better == "lower" else beyond

    @property
    def key(self) -> tuple[str, str, str]:
        """The fields that identify the row on one machine.

        If the row no longer measures the same thing, `what` must be changed.
        """
        return self.claim, self.source, self.what

    @property
    def figure(self) -> tuple[Any, ...]:
        """The fields that rows of one figure share, whatever the machine: `FIGURE`."""
        return tuple(getattr(self, name) for name in FIGURE)

    def at(self, time: str) -> "Row":
        """Return the row as a speed row with a single reading, taken at `time`."""
        if self.measured is None:
            return self
        return self.with_readings((Reading.of(self, time),))

    def on(self, machine: Mapping[str, Any], date: str) -> "Row":
        """Return the row with the machine and date filled in if they are not set."""
        readings = tuple(
            replace(r, machine=r.machine or machine) for r in self.readings
        )
        machine, date = self.machine or machine, self.date or date
        return replace(self, readings=readings, machine=machine, date=date)

    def with_readings(self, readings: tuple[Reading, ...]) -> "Row":
        """Return the row with these readings and an updated value and interval."""
        return replace(self, readings=readings, **summary(readings))


def by_figure(rows: Iterable[Row]) -> list[tuple[Row, ...]]:
    """Group the rows of all machines by figure, in the order of each first row."""
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(row.figure, []).append(row)
    return [tuple(group) for group in groups.values()]


@functools.cache
def known_claims() -> dict[str, Any]:
    """Load `claims.toml`, which maps each claim to its `"en"`, `"zh"` and `"rows"`."""
    return tomllib.loads(CLAIMS.read_text(encoding="utf-8"))


def _require(valid: bool, reason: str) -> None:
    if not valid:
        raise ValueError(reason)
