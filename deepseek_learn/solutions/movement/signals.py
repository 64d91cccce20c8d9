r"""Read what a sensor at the waist recorded, and refuse what is wrong with it.

A recording is a CSV file with a row per sample: time, acceleration along three axes, and
angular velocity about them. The units are found out from physics: gravity has a length of
1 g, and when the sensor turns with :math:`\omega`, gravity turns the other way,

.. math:: \dot g = -\omega \times g.

So the slope of one against the other is 1 for rad/s and :math:`\pi / 180` for degrees. If
there is no such relation, the axes of the two sensors do not belong together.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ...data.movements import HZ, SIGNALS, WINDOW
from ..tables import read_table

TIME = ("time", "timestamp", "time_s", "time (s)", "seconds_elapsed", "t", "date_time")
NAMES = {  # what each column may be called, in lower case
    f"{kind}-{axis}": [
        pattern.format(kind=own, axis=axis)
        for own in names
        for pattern in (
            "{kind}-{axis}",
            "{kind}_{axis}",
            "{kind}{axis}",
            "{kind} {axis}",
        )
    ]
    for kind, names in {
        "acc": ("acc", "accel", "accelerometer", "acceleration", "a"),
        "gyro": ("gyro", "gyroscope", "gyr", "w", "omega"),
    }.items()
    for axis in "xyz"
}
UNITS = {"g": 1.0, "m/s²": 9.80665, "mg": 1000.0}  # the length of gravity
NEAR = 0.15  # how far a sensor's gravity may be from it
RATES = (20.0, 400.0)  # samples per second
BRIDGED = 0.2  # seconds of a gap that is interpolated
BAD = 0.01  # more unusable rows than this part are refused
STILL, RELATED, DEGREES = 0.03, 0.2, (0.01, 0.03)  # g/s; correlation; slope


class SignalError(ValueError):
    """Raised if a recording cannot be used."""


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
        ValueError: if `columns` has an unknown key.
    """
    frame = read_table(Path(path), SignalError)
    time, values = _columns(frame, columns or {}, rate)
    notes: list[str] = []
    time, values = _usable(time, values, notes)
    own_rate = _rate(time)
    values[:3] /= _gravity(values[:3], notes)
    signal = _parts(time, values, own_rate, notes)
    return Signal(_in_radians(signal, notes), own_rate, tuple(notes))


def _columns(
    frame: pd.DataFrame, columns: Mapping[str, str], rate: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the time in seconds and the six signals."""
    known = {"time": TIME, **NAMES}
    unknown = [name for name in columns if name not in known]
    if unknown:
        raise ValueError(f"columns may name {', '.join(known)}; got {unknown[0]!r}.")
    own = {str(column).strip().lower(): column for column in frame.columns}
    chosen = {}
    for name, candidates in known.items():
        if name in columns:
            candidates = [columns[name].strip().lower()]
        fitting = [own[each] for each in candidates if each in own]
        if fitting:
            chosen[name] = fitting[0]
        elif name != "time" or "time" in columns:
            raise SignalError(
                f"There is no column for {name!r} (it may be called "
                f"{', '.join(candidates[:4])}); there are {', '.join(map(str, own))}."
            )
    values = np.stack([_numbers(frame[chosen[name]]) for name in SIGNALS])
    if "time" in chosen:
        return _seconds(frame[chosen["time"]]), values
    if rate is None:
        raise SignalError(
            "There is no column for 'time': pass rate=, samples per second."
        )
    return np.arange(values.shape[1]) / rate, values


def _numbers(text: pd.Series) -> np.ndarray:
    return pd.to_numeric(text, errors="coerce").to_numpy(dtype=float)


def _seconds(text: pd.Series) -> np.ndarray:
    """Return the time in seconds, from numbers of any usual unit or from dates."""
    numbers = _numbers(text)
    if np.isfinite(numbers).mean() < 0.5:
        stamps = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
        since = (stamps - stamps.min()).dt.total_seconds()
        return since.to_numpy(dtype=float)
    step = np.nanmedian(np.diff(numbers))
    for unit in (1.0, 1e3, 1e6, 1e9):
        if 1 / RATES[1] <= step / unit <= 1 / RATES[0]:
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
    for count, what in ((bad.sum(), "are no numbers"), (twice.sum(), "repeat a time")):
        if count:
            notes.append(f"Left out: rows that {what} ({count}).")
    if len(time) - twice.sum() < WINDOW:
        raise SignalError(
            f"There are {len(time) - twice.sum()} samples; {WINDOW} are needed."
        )
    return time[~twice], values[:, ~twice]


def _rate(time: np.ndarray) -> float:
    rate = 1 / float(np.median(np.diff(time)))
    low, high = RATES
    if not low <= rate <= high:
        raise SignalError(
            f"There must be from {low:g} to {high:g} samples per second; got {rate:.3g}."
        )
    return rate


def _gravity(acceleration: np.ndarray, notes: list[str]) -> float:
    """Return the length of gravity in the unit of the acceleration."""
    length = float(np.median(np.linalg.norm(acceleration, axis=0)))
    for unit, gravity in UNITS.items():
        if abs(length / gravity - 1) <= NEAR:
            if unit != "g":
                notes.append(f"The acceleration is in {unit}; it was converted to g.")
            return gravity
    raise SignalError(
        f"The length of the acceleration must be that of gravity most of the time (1 g or "
        f"9.81 m/s²); its median is {length:.3g}. Has gravity been removed?"
    )


def _parts(
    time: np.ndarray, values: np.ndarray, rate: float, notes: list[str]
) -> list[tuple[float, np.ndarray]]:
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
        grid = np.arange(time[own[0]], time[own[-1]], 1 / HZ)
        if len(grid) < WINDOW:
            short += len(grid) / HZ
            continue
        kernel = np.ones(width) / width
        rows = [_smooth(row[own], kernel) for row in values]
        signal = np.stack([np.interp(grid, time[own], row) for row in rows])
        result.append((float(grid[0]), signal.astype(np.float32)))
    if len(cuts):
        notes.append(f"Cut: at gaps of more than {BRIDGED} s ({len(cuts)}).")
    if short:
        notes.append(f"Not read: {short:.1f} s between gaps, too short for a window.")
    if not result:
        raise SignalError("No stretch without a gap is as long as a window of 2.56 s.")
    return result


def _smooth(row: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    if len(kernel) == 1:
        return row
    left = (len(kernel) - 1) // 2
    padded = np.pad(row, (left, len(kernel) - 1 - left), mode="edge")
    return np.convolve(padded, kernel, "valid")


def _in_radians(
    parts: list[tuple[float, np.ndarray]], notes: list[str]
) -> tuple[tuple[float, np.ndarray], ...]:
    """Find the unit of the angular velocity from how gravity turns."""
    turned, said = (
        np.concatenate(x, 1) for x in zip(*map(_turning, parts), strict=True)
    )
    power = float(np.sqrt((turned**2).mean()))
    slope = float((turned * said).sum() / max((said**2).sum(), 1e-12))
    related = float(
        (turned * said).mean() / max(power * np.sqrt((said**2).mean()), 1e-12)
    )
    if power < STILL:
        notes.append(
            "The sensor hardly turns: the angular velocity is taken for rad/s."
        )
        return tuple(parts)
    if related < RELATED:
        raise SignalError(
            f"Gravity must turn as the gyroscope says; their correlation is {related:.2f}. "
            f"Do the axes of both sensors belong together?"
        )
    if DEGREES[0] < slope < DEGREES[1]:
        notes.append("The angular velocity is in degrees per second; it was converted.")
        scale = np.array([1, 1, 1, *[np.pi / 180] * 3], np.float32)[:, None]
        return tuple((start, signal * scale) for start, signal in parts)
    if not 0.5 < slope < 2:
        raise SignalError(
            f"The angular velocity must be in rad/s or degrees per second; gravity turns "
            f"{slope:.3g} times as fast as it says. Do both sensors have the same axes?"
        )
    return tuple(parts)


def _turning(part: tuple[float, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return how fast gravity turns, and how fast the gyroscope says, `[3, T]` each."""
    kernel = np.ones(25) / 25
    smooth = np.stack([_smooth(row.astype(float), kernel) for row in part[1]])
    gravity, rotation = smooth[:3], smooth[3:]
    return np.gradient(gravity, axis=1) * HZ, -np.cross(rotation.T, gravity.T).T
