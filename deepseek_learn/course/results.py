"""Benchmark results: one JSON file a script, read and written here and nowhere else.

A row's verdict is always computed from `target`, `better` and `measured`, never
trusted; rows of other machines are kept beside this machine's.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from ..catalogue import text
from ..errors import DamagedFileError
from ..files import whole
from ..machine import processor
from .problem import REPOSITORY

PACKAGED = Path(__file__).parent / "results"  # where the wheel carries them
NUMBERS = ("target", "measured", "low", "high", "peer_measured", "n")
TEXTS = ("peer", "note", "interval")
MACHINE = ("cpu", "cores", "gpu", "torch", "threads")


def verdict(row: Mapping[str, Any]) -> str:
    """What the numbers say: a bound that is just reached is met.

    A row without target is "information"; without measurement, "untestable here".
    """
    if row["target"] is None:
        return "information"
    if row["measured"] is None:
        return "untestable here"
    if row["better"] == "lower":
        return "met" if row["measured"] <= row["target"] else "missed"
    return "met" if row["measured"] >= row["target"] else "missed"


def folder() -> Path:
    """`benchmarks/results` of the checkout we run from, else the packaged results."""
    checkout = REPOSITORY / "benchmarks" / "results"
    return checkout if checkout.is_dir() else PACKAGED


def read_results(directory: str | Path | None = None) -> list[dict[str, Any]]:
    """The rows of every full result in a folder, with `name`, `command` and `date`.

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
    directory: str | Path | None = None,
) -> Path:
    """Write `NAME.json`, or `quick/NAME.json` for a quick run; a script's last line.

    Args:
        name: the script's name, without `.py`.
        rows: each with "claim", "source" ("guide" or "ours"), "what", "unit", "better"
            ("lower" or "higher"), "target" (None: for information) and "measured"
            (None: untestable here, with a "note" why); where there are any, "low",
            "high" and "interval" (what the two bound: "quartiles", "95 % bootstrap"),
            "peer", "peer_measured", "n", "note", and a "date" before today. Machine,
            date and verdict are added here.
        command: what runs it again.
        mode: "full" or "quick"; a quick run never touches a full result.
        protocol: how it was measured and against what: the script's docstring.
        of_the_machine: True keeps the rows of other machines beside the new ones;
            False replaces them: accuracy belongs to weights and seeds.
        directory: by default the checkout's `benchmarks/results`.

    Raises:
        ValueError: for a row that is not as above; nothing is written.
        DamagedFileError: when the file that is there is no result; it is left alone.
    """
    if mode not in ("full", "quick"):
        raise ValueError(f'mode must be "full" or "quick"; got {mode!r}.')
    base = Path(directory) if directory else REPOSITORY / "benchmarks" / "results"
    path = base / f"{name}.json" if mode == "full" else base / "quick" / f"{name}.json"
    here, today = machine(), date.today().isoformat()
    empty = dict.fromkeys(("low", "high", "interval", "peer", "peer_measured", "n"))
    empty |= {"note": None, "date": today}
    try:
        new = [
            _row(empty | dict(row) | {"machine": here}, path, f"row {i}")
            for i, row in enumerate(rows)
        ]
    except DamagedFileError as error:
        raise ValueError(str(error)) from error
    old = read_result(path)["rows"] if path.exists() else []
    others = [r for r in old if of_the_machine and not same_machine(r["machine"], here)]
    result = {"name": name, "command": command, "mode": mode, "date": today}
    result |= {"protocol": protocol.strip(), "rows": others + new}
    with whole(path) as temporary:
        content = json.dumps(result, ensure_ascii=False, indent=1)
        temporary.write_text(content + "\n", encoding="utf-8")
    return path


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
    return row | {"verdict": verdict(row)}


def known_claims() -> dict[str, Any]:
    """`claims.toml`: claim → `{"en", "zh", "rows"}`."""
    import tomllib

    from .lessons import read_data

    return tomllib.loads(read_data("claims.toml"))


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
