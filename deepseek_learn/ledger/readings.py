"""Repeated readings of a speed measurement.

Machines are shared, so the same script may measure a different ratio an hour later, and
the spread within one run does not show this. A speed row therefore keeps every reading
ever taken on its machine. Its value is the median of the readings, and its interval
spans all of their intervals. Its verdict cannot be *met* until there are `HOURS`
readings that are at least an hour apart.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

HOURS = 3  # required number of readings that are at least an hour apart
SPAN = "span of readings"


@dataclass(frozen=True)
class Reading:
    """The measurement from a single run.

    Attributes:
        time: the date or time of the run in ISO 8601, as returned by `now()`.
        machine: the machine, in the format of `results.machine()`; None until the row
            is written.
        measured, low, high, interval, n, note: the same as in `Row`.

    Raises:
        ValueError: if `measured`, `low` or `high` is not finite, or if `time` is not a
            valid date or time.
    """

    time: str
    machine: Mapping[str, Any] | None
    measured: float
    low: float | None = None
    high: float | None = None
    interval: str | None = None
    n: float | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        numbers = self.measured, self.low, self.high
        if self.measured is None or not all(map(finite_or_none, numbers)):
            raise ValueError("has no finite number")
        if not _is_time(self.time):
            raise ValueError("has no time")

    @classmethod
    def of(cls, row: Any, time: str) -> "Reading":
        """Create a reading from the row that a single run produced."""
        names = [f.name for f in fields(cls) if f.name != "time"]
        return cls(time=time, **{name: getattr(row, name) for name in names})


def now() -> str:
    """Return the current UTC time for a reading, with a resolution of one second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(time: str) -> datetime:
    """Parse the time of a reading; a date without a time is interpreted as midnight.

    Raises:
        ValueError: if `time` is not an ISO 8601 date or time.
    """
    timestamp = datetime.fromisoformat(time)
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and moment(value) is not None
    except ValueError:
        return False


def appended(old: Sequence[Reading], new: Reading) -> tuple[Reading, ...]:
    """Return the readings sorted by time, with `new` added if it is not a duplicate."""
    readings = [*old] if new in old else [*old, new]
    return tuple(sorted(readings, key=lambda reading: moment(reading.time)))


def hours(readings: Sequence[Reading]) -> int:
    """Count the readings that are at least an hour apart.

    A reading is skipped if it is less than an hour after the last one counted.
    """
    count, last = 0, None
    for time in sorted(moment(reading.time) for reading in readings):
        if last is None or time - last >= timedelta(hours=1):
            count, last = count + 1, time
    return count


def summary(readings: Sequence[Reading]) -> dict[str, Any]:
    """Return the fields of a row that summarizes the readings.

    The value is the median of the readings, and the interval spans all readings and
    their intervals. If there is only one reading, its own interval (or None) is used.
    """
    if len(readings) == 1:
        names = ("measured", "low", "high", "interval", "n")
        return {name: getattr(readings[0], name) for name in names}
    low = min(r.measured if r.low is None else r.low for r in readings)
    high = max(r.measured if r.high is None else r.high for r in readings)
    median = statistics.median(r.measured for r in readings)
    bounds = {"low": low, "high": high, "interval": SPAN}
    return {"measured": median, **bounds, "n": len(readings)}


def finite_or_none(value: Any) -> bool:
    """Return whether a value is None or a finite number."""
    if value is None:
        return True
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)
