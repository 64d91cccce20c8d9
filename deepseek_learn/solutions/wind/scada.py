"""Read the records of a wind farm (SCADA), and refuse what is wrong with them.

A farm's records are one or more CSV files with a row per turbine and time. What the
reader repairs, it says in `Scada.warnings`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

STEP = np.timedelta64(10, "m")
NAMES = {  # what each column may be called, in lower case
    "turbine": ("turbine", "wind_turbine_name", "asset_id", "turbine_id", "unit"),
    "time": ("time", "date_time", "datetime", "timestamp", "date/time"),
    "power": ("power", "p_avg", "wtur_w", "active_power", "lv activepower (kw)"),
    "wind": ("wind", "ws_avg", "wmet_horwdspd", "wind_speed", "wind speed (m/s)"),
    "temperature": ("temperature", "ot_avg", "wmet_envtmp", "ambient_temperature"),
    "nacelle": ("nacelle", "ya_avg", "yaw", "nacelle_direction", "wmet_horwddir"),
    "pressure": ("pressure", "air_pressure", "wmet_envpres"),  # hPa
}
REQUIRED = ("turbine", "time", "power", "wind")
RANGES = {  # what a sensor can show; power: in parts of the rated power
    "power": (-0.05, 1.2),
    "wind": (0.0, 60.0),
    "temperature": (-60.0, 60.0),
    "nacelle": (-360.0, 720.0),
    "pressure": (500.0, 1100.0),
}
RATED_KW = (50.0, 20_000.0)  # of plausible turbines
LEAST = 3  # turbines: one is judged by the others
BAD = 0.05  # more bad values than this part of a column are refused


class ScadaError(ValueError):
    """Raised if a farm's records cannot be used."""


@dataclass(frozen=True, eq=False)
class Scada:
    """The records of a farm, every ten minutes.

    Attributes:
        turbines: their names, N of them.
        time: the steps, without gaps, `[T]`.
        power: kW, NaN where it was not recorded, `[N, T]`.
        wind: m/s at the nacelle, `[N, T]`.
        temperature, nacelle, pressure: degrees Celsius, degrees from north and hPa,
            `[N, T]`; all NaN if there is no such column.
        rated_kw: the rated power of a turbine.
        warnings: what the reader repaired.
    """

    turbines: tuple[str, ...]
    time: np.ndarray
    power: np.ndarray
    wind: np.ndarray
    temperature: np.ndarray
    nacelle: np.ndarray
    pressure: np.ndarray
    rated_kw: float
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.time)

    def between(self, start: str | None = None, stop: str | None = None) -> "Scada":
        """Return the steps from `start` on and before `stop`, dates like 2015-01-31."""
        low = self._position(start) if start else 0
        high = self._position(stop) if stop else len(self)
        return self.part(low, high)

    def part(self, low: int, high: int) -> "Scada":
        """Return the steps from one number on and before another."""
        span = slice(max(0, low), high)
        parts = {name: getattr(self, name)[:, span] for name in RANGES}
        return replace(self, time=self.time[span], **parts)

    def _position(self, date: str) -> int:
        try:
            return int(np.searchsorted(self.time, np.datetime64(date, "s")))
        except ValueError:
            raise ValueError(f"A date must be like 2015-01-31; got {date!r}.") from None


def read_scada(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    rated_kw: float | None = None,
) -> Scada:
    """Read a CSV file, or all CSV files in a folder, as one farm.

    Args:
        columns: the names of columns that are not in `NAMES`, such as
            `{"power": "Leistung"}`.
        rated_kw: the rated power; by default, the 99.9th percentile of the power.

    Raises:
        FileNotFoundError: if there is no such file, or no CSV file in the folder.
        ScadaError: if the records cannot be used; the message says why.
    """
    path = Path(path)
    paths = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not paths or not paths[0].exists():
        raise FileNotFoundError(f"{str(path)!r} is not a CSV file or a folder of them.")
    frames = []
    for each in paths:
        try:
            with each.open(encoding="utf-8-sig") as file:
                header = file.readline()
            separator = max(",;\t", key=header.count)
            frame = pd.read_csv(
                each, sep=separator, encoding="utf-8-sig", low_memory=False
            )
        except ValueError as error:  # also what is not UTF-8
            raise ScadaError(f"{each.name} is not a readable CSV file.") from error
        frames.append(renamed(frame, columns or {}, each.name))
    return from_frame(pd.concat(frames, ignore_index=True), rated_kw=rated_kw)


def renamed(
    frame: pd.DataFrame, columns: Mapping[str, str], source: str
) -> pd.DataFrame:
    """Give the columns the names of `NAMES`, and drop the others.

    Raises:
        ScadaError: if a required column is missing or a name fits two columns.
    """
    own = {str(column).strip().lower(): column for column in frame.columns}
    chosen: dict[str, str] = {}
    for name, usual in NAMES.items():
        candidates = [columns[name].strip().lower()] if name in columns else usual
        fitting = [own[each] for each in candidates if each in own]
        if len(fitting) > 1:
            raise ScadaError(
                f"{source} has several columns that may be {name!r}: "
                f"{', '.join(map(repr, fitting))}. Choose one with columns=."
            )
        if fitting:
            chosen[name] = fitting[0]
        elif name in REQUIRED or name in columns:
            raise ScadaError(
                f"{source} has no column for {name!r} (it may be called "
                f"{', '.join(candidates)}); it has {', '.join(map(str, frame.columns))}."
            )
    return frame[[*chosen.values()]].set_axis([*chosen], axis=1)


def from_frame(frame: pd.DataFrame, *, rated_kw: float | None = None) -> Scada:
    """Arrange records with the columns of `NAMES` by turbine and time.

    Raises:
        ScadaError: if the records cannot be used; the message says why.
    """
    notes: list[str] = []
    frame = frame.assign(time=_times(frame["time"], notes))
    frame = frame.assign(turbine=frame["turbine"].astype(str).str.strip())
    values = {name: _numbers(frame, name) for name in RANGES}
    rated = _rated(values["power"], rated_kw)
    for name, (low, high) in RANGES.items():
        unit = rated if name == "power" else 1.0
        values[name] = _plausible(values[name], name, low * unit, high * unit, notes)
    frame = pd.DataFrame({"turbine": frame["turbine"], "time": frame["time"], **values})
    frame = _without_doubles(frame, notes)
    turbines = sorted(frame["turbine"].unique())
    if len(turbines) < LEAST:
        raise ScadaError(
            f"A turbine is judged by its neighbors, so a farm needs at least {LEAST}; got "
            f"{', '.join(turbines)}."
        )
    frame = _in_steps(frame, notes)
    first, last = frame["time"].min(), frame["time"].max()
    steps = pd.date_range(first, last, freq="10min")
    grid = {
        name: frame.pivot(index="turbine", columns="time", values=name)
        .reindex(index=turbines, columns=steps)
        .to_numpy(float)
        for name in RANGES
    }
    absent = float(np.isnan(grid["power"]).mean())
    if absent > BAD:
        notes.append(f"{absent:.0%} of the power is missing.")
    return Scada(
        tuple(turbines), steps.to_numpy(), **grid, rated_kw=rated, warnings=tuple(notes)
    )


def _times(column: pd.Series, notes: list[str]) -> pd.Series:
    """Return the times in UTC, without a zone."""
    text = column.astype(str).str.strip()
    zoned = text.str.contains(r"(?:Z|[+-]\d\d:?\d\d)$").all()
    times = pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601")
    bad = int(times.isna().sum())
    if bad > BAD * len(times) or not len(times):
        example = text[times.isna()].iloc[0] if bad else "no row"
        raise ScadaError(
            f"time must be like 2015-01-31 13:50 or 2015-01-31T13:50:00+01:00; got "
            f"{example!r} in {bad} of {len(times)} rows."
        )
    if bad:
        notes.append(f"{bad} rows without a readable time are left out.")
    if not zoned:
        notes.append("The times have no zone and are taken as they are.")
    return times.dt.tz_localize(None)


def _numbers(frame: pd.DataFrame, name: str) -> pd.Series:
    if name not in frame:
        return pd.Series(np.nan, index=frame.index)
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column):
        column = column.astype(str).str.strip().str.replace(",", ".", regex=False)
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    words = int((numbers.isna() & frame[name].notna() & (frame[name] != "")).sum())
    if words > BAD * len(frame):
        raise ScadaError(f"{name} must be numbers; {words} of {len(frame)} are not.")
    return numbers.where(np.isfinite(numbers))


def _rated(power: pd.Series, rated_kw: float | None) -> float:
    highest = float(power.quantile(0.999)) if power.notna().any() else float("nan")
    rated = highest if rated_kw is None else rated_kw
    low, high = RATED_KW
    if not low <= rated <= high or not 0.2 * rated <= highest <= 1.2 * rated:
        raise ScadaError(
            f"power must be in kW, of turbines of {low:,.0f} to {high:,.0f} kW; 99.9 % of "
            f"the values are below {highest:.4g}"
            + ("." if rated_kw is None else f", and rated_kw is {rated_kw:.4g}.")
        )
    return rated


def _plausible(
    values: pd.Series, name: str, low: float, high: float, notes: list[str]
) -> pd.Series:
    """Remove what the sensor cannot have shown."""
    bad = int(((values < low) | (values > high)).sum())
    if bad > BAD * max(1, int(values.notna().sum())):
        raise ScadaError(
            f"{name} must be between {low:.4g} and {high:.4g}; {bad} of "
            f"{int(values.notna().sum())} values are not."
        )
    if bad:
        notes.append(f"{bad} impossible values of {name} are left out.")
    return values.where((values >= low) & (values <= high))


def _without_doubles(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    frame = frame.dropna(subset=["time"])
    doubled = frame.duplicated(["turbine", "time"], keep=False)
    count = int(doubled.sum())
    if count > BAD * len(frame):
        raise ScadaError(
            f"Each turbine must have one row per time; {count} of {len(frame)} rows share "
            f"theirs."
        )
    if count:
        day = frame.loc[doubled, "time"].iloc[0].date()
        notes.append(
            f"{count} rows share turbine and time with another (the first on {day}) and "
            f"are left out; a clock with summer time does that in fall."
        )
    return frame[~doubled]


def _in_steps(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Average shorter steps to ten minutes."""
    gaps = frame.sort_values(["turbine", "time"]).groupby("turbine")["time"].diff()
    step = gaps.median()
    ten = pd.Timedelta(STEP)
    if pd.isna(step) or step > ten or ten % step:
        raise ScadaError(
            f"The rows of a turbine must be 10 minutes apart, or a divisor of that; got "
            f"{step}."
        )
    on_grid = frame["time"] == frame["time"].dt.floor("10min")
    if step == ten and on_grid.all():
        return frame
    frame = frame.assign(time=frame["time"].dt.floor("10min"))
    if step < ten:
        notes.append(f"Rows {step.total_seconds() / 60:g} minutes apart are averaged.")
    return frame.groupby(["turbine", "time"], as_index=False).mean()
