"""Speed: a row rests on readings of different hours, none of which is ever lost.

Machines are shared, and an hour later the same script gives another ratio: a spread
within one run does not show that. So a speed row keeps each reading that was ever taken
on its machine. Its value is their median, its interval reaches from the lowest to the
highest that any of them allows, and it cannot be *met* before `HOURS` of them lie at
least an hour apart.
"""

import statistics
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

HOURS = 3  # readings an hour or more apart that a speed row needs
FIELDS = ("time", "machine", "measured", "low", "high", "interval", "n", "note")
SPAN = "span of readings"


def now() -> str:
    """The time of a reading: UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(time: str) -> datetime:
    """A reading's time; where only the day is known, its first minute.

    Raises:
        ValueError: when `time` is no date and no time of ISO 8601.
    """
    found = datetime.fromisoformat(time)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def reading(row: Mapping[str, Any], time: str) -> dict[str, Any]:
    """What a row of one run measured, as a reading."""
    return {field: row.get(field) for field in FIELDS} | {"time": time}


def appended(
    old: Sequence[Mapping[str, Any]], new: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The readings with a new one, in the order of time; the same twice is kept once."""
    readings = [dict(each) for each in old]
    if new not in readings:
        readings.append(dict(new))
    return sorted(readings, key=lambda each: moment(each["time"]))


def hours(readings: Sequence[Mapping[str, Any]]) -> int:
    """How many of them lie an hour or more after the one counted before."""
    count, last = 0, None
    for time in sorted(moment(each["time"]) for each in readings):
        if last is None or time - last >= timedelta(hours=1):
            count, last = count + 1, time
    return count


def summary(readings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Median, and the span of the readings with their own intervals.

    A single reading is as it was measured: it may have no interval.
    """
    if len(readings) == 1:
        kept = ("measured", "low", "high", "interval", "n")
        return {key: readings[0][key] for key in kept}
    bounds = {"low": min, "high": max}
    span = {
        end: pick(r["measured"] if r[end] is None else r[end] for r in readings)
        for end, pick in bounds.items()
    }
    middle = statistics.median(r["measured"] for r in readings)
    return {"measured": middle, **span, "interval": SPAN, "n": len(readings)}
