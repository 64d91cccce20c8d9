"""Read and write the results of the benchmark scripts, whose files `storage.py` defines.

A row's verdict is always computed from its target, value and interval (`rows.py`). Rows
from different machines are stored side by side, and a speed row keeps all of its
readings (`readings.py`).
"""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from ..catalog import text
from ..errors import DamagedFileError
from ..files import REPOSITORY
from ..machine import processor
from . import readings as speed
from . import storage
from .rows import Row

PACKAGED = Path(__file__).parent / "results"  # where the wheel stores them
MODES = ("full", "quick")
SCRIPT = ("name", "command", "mode", "date", "protocol")  # what a file says of a script


@dataclass(frozen=True)
class Result:
    """The results of one benchmark script, as stored in its files.

    Attributes:
        name: the name of the script, without `.py`.
        command: the command that runs the script again.
        mode: "full" or "quick".
        date: the date of the last full run.
        protocol: the docstring of the script, which describes the measurement and what
            it is compared with.
        rows: the rows from all machines, those without a target (details) included.
        outdated: the reason why the script must be run again, or None. The rows of an
            outdated result were measured with an earlier protocol. They are still
            shown, but they do not determine any verdict.

    Raises:
        ValueError: if a field is invalid or if two rows are the same figure on the same
            machine; the message names the field or the figure.
    """

    name: str
    command: str
    mode: str
    date: str
    protocol: str = ""
    rows: tuple[Row, ...] = ()
    outdated: str | None = None

    def __post_init__(self) -> None:
        for field in ("name", "command", "date", "protocol"):
            if not isinstance(getattr(self, field), str):
                raise ValueError(f"{field!r} is not a string")
        if self.mode not in MODES:
            raise ValueError("'mode' is not full or quick")
        self._check_distinct()

    def _check_distinct(self) -> None:
        seen: set[tuple[str | None, ...]] = set()
        for row in self.rows:
            machine = storage.machine_name(row.machine) if row.machine else None
            place = (*row.key, machine)
            if place in seen:
                raise ValueError(f"two rows on one machine measure {row.what!r}")
            seen.add(place)

    @classmethod
    def load(cls, path: Path) -> "Result":
        """Read the files of a script.

        Raises:
            ValueError: if the content is invalid; the message gives the reason.
        """
        content, rows = storage.load(path)
        unknown = [name for name in content if name not in (*SCRIPT, "outdated")]
        if unknown:
            raise ValueError(f"it has unknown fields: {', '.join(unknown)}")
        required: dict[str, Any] = dict.fromkeys(SCRIPT)
        return cls(**(required | content | {"rows": rows}))

    def save(self, path: Path) -> None:
        """Write the files of the script, each atomically."""
        facts = {name: getattr(self, name) for name in SCRIPT}
        if self.outdated:
            facts["outdated"] = self.outdated
        storage.save(path, facts, self.rows)

    def after(self, run: "Result", of_the_machine: bool) -> "Result":
        """Return the result of a full run, including old rows that must be kept.

        Rows from other machines are kept if `of_the_machine` is True and the protocol
        has not changed. Rows with readings are always kept.
        """
        local, others = self._by_machine(run)
        rows = tuple(_with_earlier(row, local.get(row.key)) for row in run.rows)
        same_protocol = self.protocol == run.protocol and not self.outdated
        if not (of_the_machine and same_protocol):
            others = [row for row in others if row.readings]
        speeds = {row.key for row in rows if row.readings}
        unread = [r for key, r in local.items() if r.readings and key not in speeds]
        return replace(run, rows=(*others, *rows, *unread))

    def with_readings(self, run: "Result") -> "Result":
        """Return a copy of this result with the readings of a run added."""
        local, others = self._by_machine(run)
        speeds = [row for row in run.rows if row.readings]
        new = {row.key: _with_earlier(row, local.get(row.key)) for row in speeds}
        rows = [r if r in others else new.pop(r.key, r) for r in self.rows]
        return replace(self, rows=(*rows, *new.values()))

    def _by_machine(self, run: "Result") -> tuple[dict[tuple, Row], list[Row]]:
        """Return the rows from the run's machine, keyed by `Row.key`, and the rest."""
        here = run.rows[0].machine if run.rows else machine()
        local, others = {}, []
        for row in self.rows:
            if row.machine and here and same_machine(row.machine, here):
                local[row.key] = row
            else:
                others.append(row)
        return local, others


def _with_earlier(row: Row, previous: Row | None) -> Row:
    """Return a speed row with the readings of the previous one, any other as it is."""
    if previous is None or not row.readings:
        return row
    return row.with_readings(speed.appended(previous.readings, row.readings[0]))


def folder() -> Path:
    """Return `benchmarks/results` in a checkout, or else the packaged results."""
    checkout = REPOSITORY / "benchmarks" / "results"
    return checkout if checkout.is_dir() else PACKAGED


def read_results(directory: str | Path | None = None) -> list[Result]:
    """Read all full results in a folder, sorted by name.

    Raises:
        DamagedFileError: if a file is not a result file; the message includes the file
            name and the reason.
        NotADirectoryError: if `directory` is not a folder.
    """
    source = Path(directory or folder())
    if not source.is_dir():
        raise NotADirectoryError(
            f"directory must be a folder of result files; {source} is not a folder."
        )
    results = [read_result(path) for path in sorted(source.glob("*.json"))]
    return [result for result in results if result.mode == "full"]


def read_result(path: str | Path) -> Result:
    """Read one result file.

    Raises:
        DamagedFileError: if it is not a result file; the message includes the file name
            and the reason.
    """
    try:
        return Result.load(Path(path))
    except json.JSONDecodeError as error:
        raise _damaged(path, f"it is not JSON ({error})") from error
    except ValueError as error:
        raise _damaged(path, str(error)) from error


def write_result(
    name: str,
    rows: Iterable[Row],
    command: str,
    mode: str = "full",
    *,
    protocol: str = "",
    of_the_machine: bool = True,
    only_speed: bool = False,
    directory: str | Path | None = None,
) -> Path:
    """Write the results of a benchmark script, which calls this function at the end.

    The file is `NAME.json` for a full run and `quick/NAME.json` for a quick run; rows
    without a target go to `NAME.details.csv` beside it.

    Args:
        name, command, mode, protocol: see `Result`.
        rows: the measured rows. A row without a machine is assigned to the current one.
        of_the_machine: if True, keep rows from other machines that were measured with
            the same protocol. If False, replace them, which is appropriate for results
            such as accuracy that depend only on weights and seeds. Rows with readings
            are never removed.
        only_speed: if True, add the new readings and leave the rest of the file
            unchanged.
        directory: the results folder; by default, `benchmarks/results` in the checkout.

    Raises:
        ValueError: if `mode` is unknown, or if `only_speed` is True and the result is
            outdated.
        DamagedFileError: if the existing file is not a result file; it is left
            unchanged.

    >>> from deepseek_learn import course
    >>> from deepseek_learn.ledger.rows import Row
    >>> facts = {"unit": "x", "better": "higher", "target": 1.1, "measured": 1.2}
    >>> row = Row(claim="C6", source="ours", what="speed", **facts)
    >>> course.write_result("mine", [row], "python mine.py", directory=".").name
    'mine.json'
    """
    if mode not in MODES:
        raise ValueError(f"mode must be {' or '.join(MODES)}; got {mode!r}.")
    base = Path(directory) if directory else REPOSITORY / "benchmarks" / "results"
    path = base / f"{name}.json" if mode == "full" else base / "quick" / f"{name}.json"
    here, today = machine(), date.today().isoformat()
    rows = tuple(row.on(here, today) for row in rows)
    run = Result(name, command, mode, today, protocol.strip(), rows)
    existing = read_result(path) if path.exists() else replace(run, rows=())
    if only_speed and existing.outdated:
        raise ValueError(f"{path} is outdated; {name} must be run in full first.")
    if only_speed:
        existing.with_readings(run).save(path)
    else:
        existing.after(run, of_the_machine).save(path)
    return path


def machine() -> dict[str, Any]:
    """Return the properties of this machine that affect measurements.

    Returns:
        A dictionary with the keys "cpu", "cores", "gpu" (or None), "torch" and
        "threads".
    """
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
    """Return whether two machines have the same hardware.

    Different versions of torch are allowed, so a row measured with a newer version
    replaces the old row.
    """
    return all(one[key] == other[key] for key in ("cpu", "cores", "gpu"))


def _damaged(path: str | Path, reason: str) -> DamagedFileError:
    return DamagedFileError(text("ledger.not_a_result", path=str(path), reason=reason))
