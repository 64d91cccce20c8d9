"""Speed rows: readings from different hours, none of which is ever dropped.

Machines are shared, and an hour later the same script measures another ratio, which the
spread within one run does not show. So a speed row keeps every reading ever taken on its
machine. Its value is their median, its interval spans the intervals of all of them, and
it cannot be *met* until `HOURS` of them are at least an hour apart.
"""

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

HOURS = 3  # number of readings, an hour or more apart, that a speed row needs
FIELDS = ("time", "machine", "measured", "low", "high", "interval", "n", "note")
SPAN = "span of readings"


def now() -> str:
    """The current time for a reading: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(time: str) -> datetime:
    """A reading's time; midnight if only the day is known.

    Raises:
        ValueError: if `time` is not an ISO 8601 date or time.
    """
    timestamp = datetime.fromisoformat(time)
    return timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=UTC)


def reading(row: Mapping[str, Any], time: str) -> dict[str, Any]:
    """The measurement of one run's row, as a reading."""
    return {field: row.get(field) for field in FIELDS} | {"time": time}


def appended(
    old: Sequence[Mapping[str, Any]], new: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The readings with a new one, in order of time; a duplicate is added once."""
    readings = [dict(each) for each in old]
    if new not in readings:
        readings.append(dict(new))
    return sorted(readings, key=lambda each: moment(each["time"]))


def hours(readings: Sequence[Mapping[str, Any]]) -> int:
    """The number of readings at least an hour apart, each from the one counted before."""
    count, last = 0, None
    for time in sorted(moment(each["time"]) for each in readings):
        if last is None or time - last >= timedelta(hours=1):
            count, last = count + 1, time
    return count


def summary(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The median, and the span of the readings and their intervals.

    A single reading is returned as it was measured: it may have no interval.
    """
    if len(readings) == 1:
        fields = ("measured", "low", "high", "interval", "n")
        return {key: readings[0][key] for key in fields}
    bounds = {"low": min, "high": max}
    span = {
        end: pick(r["measured"] if r[end] is None else r[end] for r in readings)
        for end, pick in bounds.items()
    }
    median = statistics.median(r["measured"] for r in readings)
    return {"measured": median, **span, "interval": SPAN, "n": len(readings)}
