"""Read the records of a wind farm (SCADA), and refuse what is wrong with them.

A farm's records are one or more CSV files with a row per turbine and time. What the
reader repairs, it says in `Scada.warnings`. Times with a zone become UTC.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from ..tables import read_table
from .plausibility import (
    BAD,
    RANGES,
    ScadaError,
    check_types,
    check_wind,
    rated_power,
    without_impossible,
)

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
LEAST = 3  # turbines: one is judged by the others
SPARSE = 0.2  # rows that fill less of the time are refused


@dataclass(frozen=True, eq=False)
class Scada:
    """The records of a farm, every ten minutes.

    Attributes:
        turbines: their names, N of them.
        time: the steps, without gaps, `[T]`; in UTC if the records have a zone.
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

    def sha256(self) -> str:
        """Return the SHA-256 of all records."""
        total = hashlib.sha256(repr((self.turbines, self.rated_kw)).encode())
        for name in ("time", *RANGES):
            total.update(np.ascontiguousarray(getattr(self, name)).view(np.uint8).data)
        return total.hexdigest()

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
        ValueError: if `columns` has an unknown key.
    """
    frames = [
        renamed(read_table(each, ScadaError), columns or {}, each.name)
        for each in csv_files(Path(path))
    ]
    return from_frame(pd.concat(frames, ignore_index=True), rated_kw=rated_kw)


def csv_files(path: Path) -> list[Path]:
    """Return a CSV file, or those in a folder.

    Raises:
        FileNotFoundError: if there is none.
    """
    paths = [path]
    if path.is_dir():
        paths = [p for p in sorted(path.iterdir()) if p.suffix.lower() == ".csv"]
        paths = [p for p in paths if p.is_file()]
    if not paths or not paths[0].exists():
        raise FileNotFoundError(f"{str(path)!r} is not a CSV file or a folder of them.")
    return paths


def renamed(
    frame: pd.DataFrame, columns: Mapping[str, str], source: str
) -> pd.DataFrame:
    """Give the columns the names of `NAMES`, and drop the others.

    Raises:
        ScadaError: if a required column is missing or a name fits two columns.
        ValueError: if `columns` has a key that is not in `NAMES`.
    """
    unknown = [name for name in columns if name not in NAMES]
    if unknown:
        raise ValueError(f"columns may name {', '.join(NAMES)}; got {unknown[0]!r}.")
    own = [(str(column).strip().lower(), column) for column in frame.columns]
    chosen: dict[str, str] = {}
    for name, usual in NAMES.items():
        given = name in columns
        candidates = [str(columns[name]).strip().lower()] if given else usual
        fitting = [column for lower, column in own if lower in candidates]
        if len(fitting) > 1:
            raise ScadaError(
                f"{source} has several columns that may be {name!r}: "
                f"{', '.join(map(repr, fitting))}. Choose one with columns=."
            )
        if fitting:
            chosen[name] = fitting[0]
        elif name in REQUIRED or given:
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
    missing = [name for name in REQUIRED if name not in frame]
    if missing or not len(frame):
        what = f"no column {missing[0]!r}" if missing else "no rows"
        raise ScadaError(f"The records have {what}.")
    notes: list[str] = []
    frame = frame.drop_duplicates()
    frame = frame.assign(
        time=_times(frame["time"], notes), turbine=_names(frame["turbine"], notes)
    )
    frame = frame.dropna(subset=["time", "turbine"]).reset_index(drop=True)
    values = {name: _numbers(frame, name, notes) for name in RANGES}
    rated = rated_power(values["power"], rated_kw)
    for name, (low, high) in RANGES.items():
        unit = rated if name == "power" else 1.0
        values[name] = without_impossible(
            values[name], name, low * unit, high * unit, notes
        )
    check_wind(values["wind"], values["power"] / rated)
    check_types(frame["turbine"], values["power"], values["wind"], rated)
    frame = pd.DataFrame({"turbine": frame["turbine"], "time": frame["time"], **values})
    frame = _in_steps(_without_doubles(frame, notes), notes)
    turbines = sorted(frame["turbine"].unique())
    if len(turbines) < LEAST:
        raise ScadaError(
            f"A turbine is judged by its neighbors, so a farm needs at least {LEAST}; got "
            f"{', '.join(turbines)}."
        )
    first, last = frame["time"].min(), frame["time"].max()
    count = (last - first) // pd.Timedelta(STEP) + 1
    if len(frame) < SPARSE * count * len(turbines):
        raise ScadaError(
            f"The rows fill only {len(frame) / count / len(turbines):.1%} of the time from "
            f"{first} to {last}. Is a time wrong?"
        )
    steps = pd.date_range(first, last, freq="10min")
    grid = {
        name: frame.pivot(index="turbine", columns="time", values=name)
        .reindex(index=turbines, columns=steps)
        .to_numpy(float)
        for name in RANGES
    }
    for turbine, row in zip(turbines, grid["power"], strict=True):
        absent = float(np.isnan(row).mean())
        if absent > BAD:
            notes.append(f"{absent:.0%} of the power of {turbine} is missing.")
    return Scada(
        tuple(turbines),
        steps.to_numpy(),
        **grid,
        rated_kw=rated,
        warnings=tuple(notes),
    )


def _names(column: pd.Series, notes: list[str]) -> pd.Series:
    """Return the names of the turbines; empty ones are NaN."""
    names = column.astype("string").str.strip().replace("", pd.NA)
    empty = int(names.isna().sum())
    if empty:
        notes.append(f"{empty} rows without the name of a turbine are left out.")
    return names.astype(object)


def _times(column: pd.Series, notes: list[str]) -> pd.Series:
    """Return the times in UTC, without a zone."""
    text = column.astype(str).str.strip()
    zoned = text.str.contains(r"\d\d:\d\d.*(?:Z|[+-]\d\d(?::?\d\d)?)$")
    if zoned.any() and not zoned[text != "nan"].all():
        raise ScadaError(
            f"Either all times must have a zone or none; {text[zoned].iloc[0]!r} has one, "
            f"{text[~zoned].iloc[0]!r} has none."
        )
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
    if not zoned.any():
        notes.append("The times have no zone and are taken as they are.")
    return times.dt.tz_localize(None)


def _numbers(frame: pd.DataFrame, name: str, notes: list[str]) -> pd.Series:
    if name not in frame:
        return pd.Series(np.nan, index=frame.index)
    column = frame[name]
    if not pd.api.types.is_numeric_dtype(column):
        column = column.astype("string").str.strip()
        commas = column[column.str.contains(",", regex=False, na=False)]
        if len(commas) and commas.str.fullmatch(r"-?\d{1,3}(,\d{3})+(\.\d+)?").all():
            raise ScadaError(
                f"{name} has values like {commas.iloc[0]!r}, in which the comma may stand "
                f"for thousands; write them without it."
            )
        column = column.str.replace(",", ".", regex=False).replace("", pd.NA)
    numbers = pd.to_numeric(column, errors="coerce").astype(float)
    finite = numbers.where(np.isfinite(numbers))
    words = int((finite.isna() & column.notna()).sum())
    if words > BAD * len(frame):
        raise ScadaError(f"{name} must be numbers; {words} of {len(frame)} are not.")
    if words:
        notes.append(f"{words} values of {name} that are no numbers are left out.")
    return finite


def _without_doubles(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
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
            f"{count} rows share turbine and time with another row that says something "
            f"else (the first on {day}) and are left out; clocks that change between "
            f"summer and winter time do that."
        )
    return frame[~doubled]


def _in_steps(frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Put the rows on steps of ten minutes; shorter ones are averaged."""
    gaps = frame.sort_values(["turbine", "time"]).groupby("turbine")["time"].diff()
    each = gaps.groupby(frame["turbine"]).median()
    ten, step = pd.Timedelta(STEP), gaps.median()
    wrong = each[(each > 1.1 * ten) | each.isna()]
    short = step.round("s")
    if pd.isna(step) or len(wrong) or short <= pd.Timedelta(0) or ten % short:
        where = f" of {wrong.index[0]}" if len(wrong) else ""
        apart = wrong.iloc[0] if len(wrong) else step
        raise ScadaError(
            f"The rows{where} must be 10 minutes apart, or a divisor of that; got {apart}."
        )
    if short < ten:
        notes.append(f"Rows {short.total_seconds() / 60:g} minutes apart are averaged.")
        return _averaged(frame.assign(time=frame["time"].dt.floor("10min")))
    offset = (frame["time"] - frame["time"].dt.floor("10min")).median()
    if pd.Timedelta("1min") < offset < pd.Timedelta("9min"):
        notes.append(f"The times are moved by {offset} to full ten minutes.")
        frame = frame.assign(time=frame["time"] - offset)
    return _averaged(frame.assign(time=frame["time"].dt.round("10min")))


def _averaged(frame: pd.DataFrame) -> pd.DataFrame:
    """Average the rows of a turbine that share a step."""
    if not frame.duplicated(["turbine", "time"]).any():
        return frame
    angle = np.radians(frame["nacelle"])
    frame = frame.assign(east=np.sin(angle), north=np.cos(angle))
    mean = frame.groupby(["turbine", "time"], as_index=False).mean()
    turn = np.degrees(np.arctan2(mean["east"], mean["north"])) % 360
    return mean.assign(nacelle=turn).drop(columns=["east", "north"])
