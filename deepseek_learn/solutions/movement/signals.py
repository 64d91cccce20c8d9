"""Read what a sensor at the waist recorded, and refuse what is wrong with it.

A recording is a CSV file with a row per sample: time, acceleration along three axes, and
angular velocity about them. Units and axes are found out from physics (`physics`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd

from ..tables import read_table
from .hapt import HZ, SIGNALS, WINDOW
from .physics import (
    Part,
    SignalError,
    gravity_length,
    in_radians,
    smooth,
    warn_of_orientation,
)

TIME = ("time", "timestamp", "times", "secondselapsed", "t", "datetime")
# what each column may be called, without its unit in brackets and in letters alone
KINDS = {
    "acc": "acc accel accelerometer acceleration a gf accelerometeracceleration",
    "gyro": "gyro gyroscope gyr w omega gyrorotation rotationrate",
}
NAMES = {
    f"{kind}-{axis}": [f"{own}{axis}" for own in names.split()]
    for kind, names in KINDS.items()
    for axis in "xyz"
}
RATES = (20.0, 400.0)  # samples per second
BRIDGED = 0.2  # seconds of a gap that is interpolated
BAD = 0.01  # more unusable rows than this part are refused
STUCK = 1.0  # seconds in which no signal changes


@dataclass(frozen=True, eq=False)
class Signal:
    """A recording at 50 Hz.

    Attributes:
        parts: (start in seconds, samples in g and rad/s `[6, T]`) of each stretch without
            a gap.
        rate: samples per second of the file.
        warnings: what was converted, bridged or left out.
    """

    parts: tuple[tuple[float, np.ndarray], ...]
    rate: float
    warnings: tuple[str, ...]


def read_signal(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    rate: float | None = None,
) -> Signal:
    """Read a CSV file.

    Args:
        columns: the names of columns that are not in `NAMES`, such as
            `{"acc-x": "Beschleunigung X"}`, or `{"time": ...}`.
        rate: samples per second, if there is no time.

    Raises:
        SignalError: if the recording cannot be used; the message says why.
        ValueError: if `columns` has an unknown key, or `rate` is out of range.
    """
    frame = read_table(Path(path), SignalError)
    time, values = _columns(frame, columns or {}, rate)
    notes: list[str] = []
    time, values = _usable(time, values, notes)
    own_rate = _rate(time)
    values[:3] /= gravity_length(values[:3], notes)
    signal = _parts(time, values, own_rate, notes)
    warn_of_orientation(signal, notes)
    return Signal(in_radians(signal, notes), own_rate, tuple(notes))


def _columns(
    frame: pd.DataFrame, columns: Mapping[str, str], rate: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the time in seconds and the six signals."""
    known = {"time": TIME, **NAMES}
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise ValueError(f"columns may name {', '.join(known)}; got {unknown[0]!r}.")
    own: dict[str, list[str]] = {}
    for column in map(str, frame.columns):
        own.setdefault(_letters(column), []).append(column)
    chosen = {}
    for name, candidates in known.items():
        if name in columns:
            candidates = [_letters(columns[name])]
        fitting = [column for each in candidates for column in own.get(each, [])]
        if len(fitting) > 1 and name != "time":
            raise SignalError(
                f"Several columns may be {name!r}: {', '.join(map(repr, fitting))}. Say "
                f"which one it is."
            )
        if fitting:
            chosen[name] = fitting[0]
        elif name != "time" or "time" in columns:
            raise SignalError(
                f"There is no column for {name!r} (it may be called "
                f"{', '.join(candidates[:4])}); there are "
                f"{', '.join(map(str, frame.columns))}. Say which one it is."
            )
    if len(frame) < WINDOW:
        raise SignalError(f"There are {len(frame)} samples; {WINDOW} are needed.")
    if rate is not None and not RATES[0] <= rate <= RATES[1]:
        raise ValueError(
            f"rate must be from {RATES[0]:g} to {RATES[1]:g} per second; got {rate:g}."
        )
    values = np.stack([_numbers(frame[chosen[name]]) for name in SIGNALS])
    if "time" in chosen:
        return _seconds(frame[chosen["time"]]), values
    if rate is None:
        raise SignalError(
            "There is no column for 'time'; say which one it is, or pass rate."
        )
    return np.arange(values.shape[1]) / rate, values


def _letters(name: str) -> str:
    """Return a column's name without its unit, in lower-case letters."""
    return re.sub(r"[\(\[].*?[\)\]]|[^a-z0-9]", "", name.lower()) or name.lower()


def _numbers(text: pd.Series) -> np.ndarray:
    return pd.to_numeric(text, errors="coerce").to_numpy(dtype=float)


def _seconds(text: pd.Series) -> np.ndarray:
    """Return the time in seconds, from numbers of any usual unit or from dates."""
    numbers = _numbers(text)
    if np.isfinite(numbers).mean() < 0.5:
        stamps = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
        if stamps.isna().mean() > BAD:
            wrong = text[stamps.isna()].iloc[0]
            raise SignalError(
                f"time must be numbers, or dates like 2026-01-31T10:00:00.02; got "
                f"{wrong!r}."
            )
        since = (stamps - stamps.min()).dt.total_seconds()
        return since.to_numpy(dtype=float)
    steps = np.diff(numbers[np.isfinite(numbers)])
    step = float(np.median(steps[steps > 0])) if (steps > 0).any() else 0.0
    for unit in (1.0, 1e3, 1e6, 1e9):
        if 0.99 / RATES[1] <= step / unit <= 1.01 / RATES[0]:
            return (numbers - np.nanmin(numbers)) / unit
    raise SignalError(
        f"time must be in seconds (or milli-, micro-, nanoseconds), {RATES[0]:g} to "
        f"{RATES[1]:g} times per second; its usual step is {step:.4g}."
    )


def _usable(
    time: np.ndarray, values: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Leave out rows that are not numbers, and those that are there twice."""
    bad = ~(np.isfinite(time) & np.isfinite(values).all(0))
    if bad.mean() > BAD:
        raise SignalError(
            f"{bad.sum()} of {len(bad)} rows have something that is no number."
        )
    time, values = time[~bad], values[:, ~bad]
    back = np.flatnonzero(np.diff(time) < 0)
    if len(back):
        raise SignalError(f"time must increase; it goes back after row {back[0] + 1}.")
    twice = np.diff(time, prepend=-np.inf) <= 0
    never = np.flatnonzero(np.ptp(values, axis=1) == 0)
    if len(never):
        raise SignalError(f"{SIGNALS[never[0]]} never changes; is the sensor dead?")
    stuck = _stuck(time, values)
    for count, what in (
        (bad.sum(), "are no numbers"),
        (twice.sum(), "repeat a time"),
        ((stuck & ~twice).sum(), "repeat all six values for a second or more"),
    ):
        if count:
            notes.append(f"Left out: rows that {what} ({count}).")
    use = ~(twice | stuck)
    if use.sum() < WINDOW:
        raise SignalError(f"There are {use.sum()} usable samples; {WINDOW} are needed.")
    return time[use], values[:, use]


def _stuck(time: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which samples belong to a stretch in which no signal changes."""
    moves = np.diff(values, axis=1).any(0)
    edges = np.flatnonzero(np.r_[True, moves, True])  # where each stretch begins
    result = np.zeros(len(time), bool)
    for low, high in pairwise(edges):
        if time[high - 1] - time[low] >= STUCK:
            result[low:high] = True
    return result


def _rate(time: np.ndarray) -> float:
    """Return the samples per second."""
    rate = 1 / float(np.median(np.diff(time)))
    low, high = RATES
    if not 0.99 * low <= rate <= 1.01 * high:
        raise SignalError(
            f"There must be from {low:g} to {high:g} samples per second; got {rate:.3g}."
        )
    return rate


def _parts(
    time: np.ndarray, values: np.ndarray, rate: float, notes: list[str]
) -> list[Part]:
    """Resample to 50 Hz, and cut at gaps."""
    if abs(rate / HZ - 1) > 0.02:
        notes.append(f"Resampled from {rate:.4g} to {HZ} samples per second.")
    if rate < 0.8 * HZ:
        notes.append("Below 40 samples per second, quick movements are blurred.")
    step = np.diff(time)
    holes = step > max(BRIDGED, 1.5 / rate)
    bridged = ((step > 1.5 / rate) & ~holes).sum()
    if bridged:
        notes.append(f"Interpolated: gaps of up to {BRIDGED} s ({bridged}).")
    cuts = np.flatnonzero(holes) + 1
    result, short = [], 0.0
    width = max(1, round(rate / HZ))  # samples that one at 50 Hz stands for
    for own in np.split(np.arange(len(time)), cuts):
        count = round((time[own[-1]] - time[own[0]]) * HZ) + 1
        grid = time[own[0]] + np.arange(count) / HZ
        if len(grid) < WINDOW:
            short += len(grid) / HZ
            continue
        kernel = np.ones(width) / width
        rows = [smooth(row[own], kernel) for row in values]
        signal = np.stack([np.interp(grid, time[own], row) for row in rows])
        result.append((float(grid[0]), signal.astype(np.float32)))
    if len(cuts):
        notes.append(f"Cut: at gaps of more than {BRIDGED} s ({len(cuts)}).")
    if short:
        notes.append(f"Not read: {short:.1f} s between gaps, too short for a window.")
    if not result:
        raise SignalError("No stretch without a gap is as long as a window of 2.56 s.")
    return result
