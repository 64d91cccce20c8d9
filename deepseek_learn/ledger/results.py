"""Benchmark results: one JSON file per script, read and written only here.

A row's verdict is always computed from its target, value and interval, never read from
the file. Rows of other machines are kept beside this machine's, and a speed row keeps
all its readings (`readings.py`).
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
from ..files import REPOSITORY, atomic_write
from ..machine import processor
from . import readings as speed

PACKAGED = Path(__file__).parent / "results"  # their place in the wheel
CLAIMS = Path(__file__).parent / "claims.toml"
OUTDATED = "outdated"  # measured by an earlier protocol
NUMBERS = ("target", "measured", "low", "high", "peer_measured", "n")
TEXTS = ("peer", "note", "interval")
MACHINE = ("cpu", "cores", "gpu", "torch", "threads")


def verdict(row: Mapping[str, Any]) -> str:
    """The verdict of a row; a value equal to the target reaches it.

    "met": the value reaches the target, and so does the worse end of its interval, if
    there is one; "on the mean only": the value does, but not the worse end, or it is a
    speed row with readings from fewer than `readings.HOURS` hours; otherwise "missed".
    A row without a target is "information"; without a measurement, "untestable here".
    """
    if row["target"] is None:
        return "information"
    if row["measured"] is None:
        return "untestable here"
    worse = row.get("high" if row["better"] == "lower" else "low")
    if not _reaches(row, row["measured"]):
        return "missed"
    enough = not row.get("readings") or speed.hours(row["readings"]) >= speed.HOURS
    certain = worse is None or _reaches(row, worse)
    return "met" if certain and enough else "on the mean only"


def _reaches(row: Mapping[str, Any], value: float) -> bool:
    lower = row["better"] == "lower"
    return value <= row["target"] if lower else value >= row["target"]


def folder() -> Path:
    """`benchmarks/results` of the current checkout, else the packaged results."""
    checkout = REPOSITORY / "benchmarks" / "results"
    return checkout if checkout.is_dir() else PACKAGED


def read_results(directory: str | Path | None = None) -> list[dict[str, Any]]:
    """The rows of every full result in a folder, with `name`, `command` and `date`.

    The rows of a result marked `outdated` get that verdict: they show what was measured,
    and decide nothing until the script has been rerun.

    Raises:
        DamagedFileError: naming the file and what is wrong with it.
        NotADirectoryError: if `directory` is not a folder.
    """
    rows, source = [], Path(directory or folder())
    if not source.is_dir():
        raise NotADirectoryError(
            f"directory must be a folder of result files; there is no {source}."
        )
    for path in sorted(source.glob("*.json")):
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
    """One result file, with each row's verdict recomputed.

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
    """Write `NAME.json`, or `quick/NAME.json` for a quick run: a script's last call.

    Args:
        name: the script's name, without `.py`.
        rows: each with "claim", "source" ("guide" or "ours"), "what", "unit", "better"
            ("lower" or "higher"), "target" (None: for information) and "measured"
            (None: untestable here, with a "note" saying why); optionally "low", "high"
            and "interval" (what the two bound: "quartiles", "95 % bootstrap"), "peer",
            "peer_measured", "n", "note", and a "date" before today. A row with a
            "time" (`readings.now()`) is a speed row: its figures are added to the
            readings of that row on this machine. Machine, date and verdict are added
            here.
        command: the command that reruns it.
        mode: "full" or "quick"; a quick run never touches a full result.
        protocol: how it was measured and against what: the script's docstring.
        of_the_machine: True keeps the rows of other machines beside the new ones, if
            they were measured by the same protocol; False replaces them, as accuracy
            depends on weights and seeds only. A row with readings is never removed.
        only_speed: add these readings and leave the rest of the file unchanged.
        where: the machine that measured, as from `machine()`; by default this one.
        directory: by default the checkout's `benchmarks/results`.

    Raises:
        ValueError: for a row that is not as above; nothing is written.
        DamagedFileError: if the existing file is not a result; it is left unchanged.
    """
    if mode not in ("full", "quick"):
        raise ValueError(f'mode must be "full" or "quick"; got {mode!r}.')
    base = Path(directory) if directory else REPOSITORY / "benchmarks" / "results"
    path = base / f"{name}.json" if mode == "full" else base / "quick" / f"{name}.json"
    current, today = dict(where or machine()), date.today().isoformat()
    try:
        new = [
            _complete_row(row, current, today, path, f"row {i}")
            for i, row in enumerate(rows)
        ]
    except DamagedFileError as error:
        raise ValueError(str(error)) from error
    result = {"name": name, "command": command, "mode": mode, "date": today}
    result |= {"protocol": protocol.strip(), "rows": []}
    existing = read_result(path) if path.exists() else result
    if only_speed and existing.get("outdated"):
        raise ValueError(f"{path} is outdated: {name} has to run in full first.")
    if only_speed:
        new, result = [row for row in new if row.get("readings")], existing
    same_protocol = existing.get("protocol", "") == result["protocol"]
    keep_others = of_the_machine and same_protocol and not existing.get("outdated")
    rows = _merge(existing["rows"], new, current, keep_others, only_speed)
    save_result(path, result | {"rows": rows})
    return path


def save_result(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result, as from `read_result`, atomically."""
    with atomic_write(path) as temporary:
        content = json.dumps(result, ensure_ascii=False, indent=1)
        temporary.write_text(content + "\n", encoding="utf-8")


def _complete_row(
    row: Mapping[str, Any], current: dict, today: str, path: Path, where: str
) -> dict[str, Any]:
    """A row of a run that has just ended, with the fields that every row has."""
    empty = dict.fromkeys(("low", "high", "interval", "peer", "peer_measured", "n"))
    row = empty | {"note": None, "date": today} | dict(row) | {"machine": current}
    time = row.pop("time", None)
    if time is not None and row.get("measured") is not None:
        row["readings"] = [speed.reading(row, time)]
    return _row(row, path, where)


def _merge(
    old: list[dict], new: list[dict], current: dict, keep_others: bool, only_speed: bool
) -> list[dict]:
    """The file's rows after a run: the new ones, and the old ones it must not lose."""

    def is_local(row: dict) -> bool:
        return same_machine(row["machine"], current)

    local = {_identity(row): row for row in old if is_local(row)}
    new = [_add_readings(row, local.get(_identity(row))) for row in new]
    speed_rows = {_identity(row): row for row in new if row.get("readings")}
    if only_speed:
        rows = [speed_rows.pop(_identity(r), r) if is_local(r) else r for r in old]
        return rows + list(speed_rows.values())
    others = [row for row in old if not is_local(row)]
    others = [row for row in others if keep_others or row.get("readings")]
    unread = [r for i, r in local.items() if r.get("readings") and i not in speed_rows]
    return others + new + unread


def _add_readings(
    row: dict[str, Any], previous: dict[str, Any] | None
) -> dict[str, Any]:
    """A speed row with its earlier readings added; any other row unchanged."""
    if not row.get("readings"):
        return row
    earlier = (previous or {}).get("readings") or []
    readings = speed.appended(earlier, row["readings"][0])
    row = row | {"readings": readings} | speed.summary(readings)
    return row | {"verdict": verdict(row)}


def _identity(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """The key of a row on its machine; rename a row if its measurement changes."""
    return row["claim"], row["source"], row["what"]


def machine() -> dict[str, Any]:
    """What measurements depend on: CPU, cores, GPU (or None), torch, threads."""
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
    """Whether the hardware is the same; a newer torch replaces the old measurement."""
    return all(one[key] == other[key] for key in ("cpu", "cores", "gpu"))


def _row(row: Any, path: str | Path, where: str) -> dict[str, Any]:
    """The row with its computed verdict; raises for an invalid one."""
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
        choices = " or ".join(values)
        _require(row.get(field) in values, path, f"{where}: {field!r} is not {choices}")
    for field in NUMBERS:
        valid = field in row and _number_or_none(row[field])
        _require(valid, path, f"{where}: {field!r} is not a finite number or null")
    for field in TEXTS:
        valid = isinstance(row.get(field), str | None)
        _require(valid, path, f"{where}: {field!r} is not a text or null")
    machine = row.get("machine")
    valid = isinstance(machine, dict) and all(key in machine for key in MACHINE)
    _require(valid, path, f"{where}: 'machine' lacks one of {', '.join(MACHINE)}")
    unexplained = row["measured"] is None and not row["note"]
    _require(
        not unexplained, path, f"{where}: nothing is measured and no 'note' says why"
    )
    if row.get("readings") is not None:
        _require_readings(row["readings"], path, where)
        row = row | speed.summary(row["readings"])
    return row | {"verdict": verdict(row)}


def _require_readings(readings: Any, path: str | Path, where: str) -> None:
    """Require a list of dictionaries, each with its time, machine and number."""
    valid = isinstance(readings, list) and readings != []
    _require(valid, path, f"{where}: 'readings' is not a list of readings")
    for i, each in enumerate(readings):
        valid = isinstance(each, dict) and set(speed.FIELDS) <= set(each)
        _require(valid, path, f"{where}: reading {i} lacks a field")
        valid = each["measured"] is not None and all(
            _number_or_none(each[field]) for field in ("measured", "low", "high")
        )
        _require(valid, path, f"{where}: reading {i} has no finite number")
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


def _require(valid: bool, path: str | Path, reason: str) -> None:
    if not valid:
        raise _damaged(path, reason)


def _damaged(path: str | Path, reason: str) -> DamagedFileError:
    return DamagedFileError(text("ledger.not_a_result", path=str(path), reason=reason))
