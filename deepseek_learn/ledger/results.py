"""Benchmark results: one JSON file a script, read and written here and nowhere else.

A row's verdict is always computed from its target, value and interval, never trusted;
rows of other machines are kept beside this machine's, and a speed row keeps all its
readings (`readings.py`).
"""

import json
import math
import os
import tomllib
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ..catalog import text
from ..errors import DamagedFileError
from ..files import REPOSITORY, whole
from ..machine import processor
from . import readings as speed

PACKAGED = Path(__file__).parent / "results"  # where the wheel carries them
CLAIMS = Path(__file__).parent / "claims.toml"
OUTDATED = "outdated"  # measured by an earlier protocol
NUMBERS = ("target", "measured", "low", "high", "peer_measured", "n")
TEXTS = ("peer", "note", "interval")
MACHINE = ("cpu", "cores", "gpu", "torch", "threads")


def verdict(row: Mapping[str, Any]) -> str:
    """What the numbers say: a bound that is just reached is reached.

    "met": the value reaches the target, and so does the worse end of its interval, where
    there is one; "on the mean only": the value does, but not the worse end, or the row is
    one of speed with readings of fewer than `readings.HOURS` hours; else "missed".
    A row without target is "information"; without measurement, "untestable here".
    """
    if row["target"] is None:
        return "information"
    if row["measured"] is None:
        return "untestable here"
    worse = row.get("high" if row["better"] == "lower" else "low")
    if not _reaches(row, row["measured"]):
        return "missed"
    steady = not row.get("readings") or speed.hours(row["readings"]) >= speed.HOURS
    sure = worse is None or _reaches(row, worse)
    return "met" if sure and steady else "on the mean only"


def _reaches(row: Mapping[str, Any], value: float) -> bool:
    lower = row["better"] == "lower"
    return value <= row["target"] if lower else value >= row["target"]


def folder() -> Path:
    """`benchmarks/results` of the checkout we run from, else the packaged results."""
    checkout = REPOSITORY / "benchmarks" / "results"
    return checkout if checkout.is_dir() else PACKAGED


def read_results(directory: str | Path | None = None) -> list[dict[str, Any]]:
    """The rows of every full result in a folder, with `name`, `command` and `date`.

    Rows of a result that says why it is `outdated` have that verdict: they show what was
    measured, and decide nothing until the script has run again.

    Raises:
        DamagedFileError: naming the file and what is wrong with it.
        NotADirectoryError: when `directory` is no folder.
    """
    rows, place = [], Path(directory or folder())
    if not place.is_dir():
        raise NotADirectoryError(
            f"directory must be a folder of result files; there is no {place}."
        )
    for path in sorted(place.glob("*.json")):
        result = read_result(path)
        if result["mode"] == "full":
            facts = {key: result[key] for key in ("name", "command", "date")}
            facts["protocol"] = result.get("protocol", "")
            if result.get("outdated"):
                facts["protocol"] = f"{result['outdated']}\n\n{facts['protocol']}"
                result["rows"] = [r | {"verdict": OUTDATED} for r in result["rows"]]
            rows += [facts | row for row in result["rows"]]
    return rows


def read_result(path: str | Path) -> dict[str, Any]:
    """One result file, each row's verdict computed anew.

    Raises:
        DamagedFileError: naming the file and what is wrong with it.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    _require(isinstance(result, dict), path, "it is not an object")
    for field in ("name", "command", "date"):
        _require(isinstance(result.get(field), str), path, f"{field!r} is not a text")
    _require(
        result.get("mode") in ("full", "quick"), path, "'mode' is not full or quick"
    )
    _require(isinstance(result.get("rows"), list), path, "'rows' is not a list")
    rows = [_row(row, path, f"row {i}") for i, row in enumerate(result["rows"])]
    return result | {"rows": rows}


def write_result(
    name: str,
    rows: Iterable[Mapping[str, Any]],
    command: str,
    mode: str = "full",
    *,
    protocol: str = "",
    of_the_machine: bool = True,
    only_speed: bool = False,
    where: Mapping[str, Any] | None = None,
    directory: str | Path | None = None,
) -> Path:
    """Write `NAME.json`, or `quick/NAME.json` for a quick run; a script's last line.

    Args:
        name: the script's name, without `.py`.
        rows: each with "claim", "source" ("guide" or "ours"), "what", "unit", "better"
            ("lower" or "higher"), "target" (None: for information) and "measured"
            (None: untestable here, with a "note" why); where there are any, "low",
            "high" and "interval" (what the two bound: "quartiles", "95 % bootstrap"),
            "peer", "peer_measured", "n", "note", and a "date" before today. A row with
            a "time" (`readings.now()`) is one of speed: its figures join the readings
            that the row has on this machine. Machine, date and verdict are added here.
        command: what runs it again.
        mode: "full" or "quick"; a quick run never touches a full result.
        protocol: how it was measured and against what: the script's docstring.
        of_the_machine: True keeps the rows of other machines beside the new ones, if
            they were measured by the same protocol; False replaces them: accuracy
            belongs to weights and seeds. A row with readings is never removed.
        only_speed: add these readings and leave all else in the file as it is.
        where: the machine that measured, as `machine()` says it; by default this one.
        directory: by default the checkout's `benchmarks/results`.

    Raises:
        ValueError: for a row that is not as above; nothing is written.
        DamagedFileError: when the file that is there is no result; it is left alone.
    """
    if mode not in ("full", "quick"):
        raise ValueError(f'mode must be "full" or "quick"; got {mode!r}.')
    base = Path(directory) if directory else REPOSITORY / "benchmarks" / "results"
    path = base / f"{name}.json" if mode == "full" else base / "quick" / f"{name}.json"
    here, today = dict(where or machine()), date.today().isoformat()
    try:
        new = [_new(row, here, today, path, f"row {i}") for i, row in enumerate(rows)]
    except DamagedFileError as error:
        raise ValueError(str(error)) from error
    result = {"name": name, "command": command, "mode": mode, "date": today}
    result |= {"protocol": protocol.strip(), "rows": []}
    there = read_result(path) if path.exists() else result
    if only_speed and there.get("outdated"):
        raise ValueError(f"{path} is outdated: {name} has to run in full first.")
    if only_speed:
        new, result = [row for row in new if row.get("readings")], there
    same = not there.get("outdated") and there.get("protocol", "") == result["protocol"]
    merged = _merged(there["rows"], new, here, of_the_machine and same, only_speed)
    save_result(path, result | {"rows": merged})
    return path


def save_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as `read_result` gave it, whole or not at all."""
    with whole(path) as temporary:
        content = json.dumps(result, ensure_ascii=False, indent=1)
        temporary.write_text(content + "\n", encoding="utf-8")


def _new(row: Mapping[str, Any], here: dict, today: str, path: Path, where: str):
    """A row of a run that has just ended, with what every row has."""
    empty = dict.fromkeys(("low", "high", "interval", "peer", "peer_measured", "n"))
    row = empty | {"note": None, "date": today} | dict(row) | {"machine": here}
    time = row.pop("time", None)
    if time is not None and row.get("measured") is not None:
        row["readings"] = [speed.reading(row, time)]
    return _row(row, path, where)


def _merged(
    old: list[dict], new: list[dict], here: dict, of_the_machine: bool, only_speed: bool
) -> list[dict]:
    """The file's rows after a run: what it read anew, and what it must not lose."""
    ours = {_identity(r): r for r in old if same_machine(r["machine"], here)}
    new = [_joined(row, ours.get(_identity(row))) for row in new]
    read = {_identity(row): row for row in new if row.get("readings")}
    if only_speed:
        there = lambda row: same_machine(row["machine"], here)  # noqa: E731
        rows = [read.pop(_identity(r), r) if there(r) else r for r in old]
        return rows + list(read.values())
    others = [row for row in old if not same_machine(row["machine"], here)]
    stay = [row for row in others if of_the_machine or row.get("readings")]
    lost = [r for i, r in ours.items() if r.get("readings") and i not in read]
    return stay + new + lost


def _joined(row: dict[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
    """A speed row with the readings that it had before; any other row as it is."""
    if not row.get("readings"):
        return row
    earlier = (before or {}).get("readings") or []
    readings = speed.appended(earlier, row["readings"][0])
    row = row | {"readings": readings} | speed.summary(readings)
    return row | {"verdict": verdict(row)}


def _identity(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """What a row is of, on its machine: change how it is measured, and rename it."""
    return row["claim"], row["source"], row["what"]


def machine() -> dict[str, Any]:
    """What the numbers depend on: processor, cores, GPU (or None), torch, threads."""
    import torch

    gpu = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "cpu": processor(),
        "cores": cores or os.cpu_count(),
        "gpu": gpu,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def same_machine(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """The same hardware; a newer torch on it replaces the older measurement."""
    return all(one[key] == other[key] for key in ("cpu", "cores", "gpu"))


def _row(row: Any, path: str | Path, where: str) -> dict[str, Any]:
    """The row with its computed verdict, or a sentence about what is wrong with it."""
    _require(isinstance(row, dict), path, f"{where} is not an object")
    for field in ("claim", "what", "unit"):
        _require(
            isinstance(row.get(field), str), path, f"{where}: {field!r} is not a text"
        )
    _require(
        row["claim"] in known_claims(), path, f"{where}: no claim {row['claim']!r}"
    )
    for field, values in (
        ("source", ("guide", "ours")),
        ("better", ("lower", "higher")),
    ):
        wanted = " or ".join(values)
        _require(row.get(field) in values, path, f"{where}: {field!r} is not {wanted}")
    for field in NUMBERS:
        good = field in row and _number_or_none(row[field])
        _require(good, path, f"{where}: {field!r} is not a finite number or null")
    for field in TEXTS:
        good = isinstance(row.get(field), str | None)
        _require(good, path, f"{where}: {field!r} is not a text or null")
    machine = row.get("machine")
    good = isinstance(machine, dict) and all(key in machine for key in MACHINE)
    _require(good, path, f"{where}: 'machine' lacks one of {', '.join(MACHINE)}")
    unexplained = row["measured"] is None and not row["note"]
    _require(
        not unexplained, path, f"{where}: nothing is measured and no 'note' says why"
    )
    if row.get("readings") is not None:
        _require_readings(row["readings"], path, where)
        row = row | speed.summary(row["readings"])
    return row | {"verdict": verdict(row)}


def _require_readings(readings: Any, path: str | Path, where: str) -> None:
    """A list of dictionaries, each with its time, its machine and its number."""
    good = isinstance(readings, list) and readings != []
    _require(good, path, f"{where}: 'readings' is not a list of readings")
    for i, each in enumerate(readings):
        good = isinstance(each, dict) and set(speed.FIELDS) <= set(each)
        _require(good, path, f"{where}: reading {i} lacks a field")
        good = each["measured"] is not None and all(
            _number_or_none(each[field]) for field in ("measured", "low", "high")
        )
        _require(good, path, f"{where}: reading {i} has no finite number")
        _require(_is_time(each["time"]), path, f"{where}: reading {i} has no time")


def _is_time(value: Any) -> bool:
    try:
        return isinstance(value, str) and speed.moment(value) is not None
    except ValueError:
        return False


def known_claims() -> dict[str, Any]:
    """`claims.toml`: claim → `{"en", "zh", "rows"}`."""
    return tomllib.loads(CLAIMS.read_text(encoding="utf-8"))


def _number_or_none(value: Any) -> bool:
    if value is None:
        return True
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(value)


def _require(good: bool, path: str | Path, reason: str) -> None:
    if not good:
        raise _damaged(path, reason)


def _damaged(path: str | Path, reason: str) -> DamagedFileError:
    return DamagedFileError(text("ledger.not_a_result", path=str(path), reason=reason))
