"""The files of a benchmark: its figures in `NAME.json`, details in `NAME.details.csv`.

A row of the JSON file is a figure that has a target, with one column per machine. What
has no target is a detail: a line of the CSV file for each value. Both files name a
machine by its processor, or in full if several have the same one; the JSON file describes
it. Verdicts are written for human readers and never
read back; so are the value and the interval of a row with readings.
"""

import csv
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..files import atomic_write
from .readings import Reading
from .rows import FIGURE, Row, by_figure

COLUMN = (
    "measured", "low", "high", "interval", "peer", "peer_measured", "n", "note",
    "choices", "date", "readings",
)  # fmt: skip
DETAIL = (*FIGURE[:-1], "machine", *COLUMN)  # a line of the CSV file; it has no target
READING = tuple(field.name for field in fields(Reading))
MACHINE = ("cpu", "cores", "gpu", "torch", "threads")
Machines = Mapping[str, Mapping[str, Any]]


def details_of(path: Path) -> Path:
    """Return the CSV file that belongs to a JSON file."""
    return path.with_suffix(".details.csv")


def machine_name(facts: Mapping[str, Any]) -> str:
    """Return one line about a machine."""
    gpu = f", {facts['gpu']}" if facts["gpu"] else ""
    size = f"{_count(facts, 'core')}, {_count(facts, 'thread')}"
    return f"{facts['cpu']}, {size}{gpu}, torch {facts['torch']}"


def _count(facts: Mapping[str, Any], name: str) -> str:
    number = facts[f"{name}s"]
    return f"{number} {name}{'' if number == 1 else 's'}"


def save(path: Path, facts: Mapping[str, Any], rows: Iterable[Row]) -> None:
    """Write both files atomically; without details, there is no CSV file.

    Args:
        path: the JSON file.
        facts: what the JSON file says of the script, such as its protocol.
        rows: the rows of all machines.
    """
    rows = [*rows]
    figures = by_figure(row for row in rows if row.target is not None)
    details = [row for row in rows if row.target is None]
    machines = {machine_name(machine): dict(machine) for machine in _machines(rows)}
    names = _names(machines)
    content = {
        **facts,
        "machines": {names[name]: machine for name, machine in machines.items()},
        "details": len(details),
        "rows": [_figure(group, names) for group in figures],
    }
    if details:
        with atomic_write(details_of(path)) as temporary:
            temporary.write_text(_table(details, names), encoding="utf-8")
    else:
        details_of(path).unlink(missing_ok=True)
    with atomic_write(path) as temporary:
        text = json.dumps(content, ensure_ascii=False, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def load(path: Path) -> tuple[dict[str, Any], tuple[Row, ...]]:
    """Read both files: what the JSON file says of the script, and the rows.

    Raises:
        ValueError: if the content is invalid; the message gives the reason.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    _require(isinstance(content, dict), "it is not an object")
    stored, machines = content.pop("rows", None), content.pop("machines", None)
    _require(isinstance(stored, list), "'rows' is not a list")
    _require(isinstance(machines, dict), "'machines' is not an object")
    for name, facts in machines.items():
        named = isinstance(facts, dict) and set(MACHINE) <= {*facts}
        _require(named, f"machine {name!r} lacks one of {', '.join(MACHINE)}")
    rows = [row for i, each in enumerate(stored) for row in _columns(i, each, machines)]
    details = [*_lines(details_of(path), machines)]
    count = content.pop("details", None)
    right = count == len(details)
    _require(right, f"it has {count} details, but its CSV file {len(details)}")
    return content, (*rows, *details)


def _machines(rows: Iterable[Row]) -> Iterator[Mapping[str, Any]]:
    for row in rows:
        for machine in (row.machine, *(reading.machine for reading in row.readings)):
            assert machine is not None  # `Row.on` fills it in
            yield machine


def _names(machines: Machines) -> dict[str, str]:
    """Return the names in the files of machines that are described in full."""
    processors = [machine["cpu"] for machine in machines.values()]
    return {
        name: machine["cpu"] if processors.count(machine["cpu"]) == 1 else name
        for name, machine in machines.items()
    }


def _figure(group: tuple[Row, ...], names: Mapping[str, str]) -> dict[str, Any]:
    columns = {
        names[_name(row)]: _values(row, names) | {"verdict": row.verdict}
        for row in group
    }
    shared = dict(zip(FIGURE, group[0].figure, strict=True))
    return shared | {"machines": columns}


def _values(row: Row, names: Mapping[str, str]) -> dict[str, Any]:
    """Return what one machine adds to a figure, without what is not known."""
    values = {name: getattr(row, name) for name in COLUMN}
    readings = []
    for reading in row.readings:
        same = _name(reading) == _name(row)
        elsewhere = None if same else names[_name(reading)]
        readings.append(_stated(vars(reading) | {"machine": elsewhere}))
    return {"measured": row.measured} | _stated(values | {"readings": readings or None})


def _stated(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, "")}


def _name(measured: Row | Reading) -> str:
    assert measured.machine is not None
    return machine_name(measured.machine)


def _table(details: Iterable[Row], names: Mapping[str, str]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, DETAIL, lineterminator="\n")
    writer.writeheader()
    for row in details:
        shared = dict(zip(FIGURE[:-1], row.figure, strict=False))
        values = shared | {"machine": names[_name(row)]} | _values(row, names)
        writer.writerow({k: _cell(v) for k, v in values.items()})
    return text.getvalue()


def _cell(value: Any) -> str:
    """Return a text as it is, and a number or the readings as JSON."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False)


def _columns(number: int, content: Any, machines: Machines) -> Iterator[Row]:
    """Parse the columns of a row of the JSON file."""
    where = f"row {number}"
    _require(isinstance(content, dict), f"{where}: it is not an object")
    _check_fields(where, content, (*FIGURE, "machines"), (*FIGURE, "machines"))
    columns = content["machines"]
    named = isinstance(columns, dict) and columns
    _require(named, f"{where}: 'machines' is not an object with a machine")
    _require(content["target"] is not None, f"{where}: it has no target")
    for name, values in columns.items():
        _require(isinstance(values, dict), f"{where}: {name!r} is not an object")
        _check_fields(where, values, ("measured",), (*COLUMN, "verdict"))
        facts = {k: content[k] for k in FIGURE} | values
        yield _row(where, facts, name, machines)


def _lines(path: Path, machines: Machines) -> Iterator[Row]:
    """Parse the lines of the CSV file, if there is one."""
    if not path.is_file():
        return
    with path.open(encoding="utf-8", newline="") as file:
        try:
            titles, *lines = csv.reader(file, strict=True)
        except (csv.Error, ValueError) as error:
            raise ValueError(f"{path.name} is not a CSV file ({error})") from error
    right = tuple(titles) == DETAIL
    _require(right, f"the columns of {path.name} are not {', '.join(DETAIL)}")
    required = dict.fromkeys(FIGURE[:-1], "") | {"measured": None}
    for number, cells in enumerate(lines, start=1):
        where = f"detail {number}"
        _require(len(cells) == len(DETAIL), f"{where} has {len(cells)} cells")
        pairs = zip(DETAIL, cells, strict=True)
        facts = {k: _parsed(where, k, cell) for k, cell in pairs if cell}
        name = facts.pop("machine", None)
        yield _row(where, required | facts, name, machines)


TEXT = {"claim", "source", "what", "unit", "better", "machine", "interval", "peer"}
TEXT |= {"note", "choices", "date"}


def _parsed(where: str, column: str, cell: str) -> Any:
    try:
        return cell if column in TEXT else json.loads(cell)
    except ValueError as error:
        raise ValueError(f"{where}: {column!r} is not a number") from error


def _row(where: str, facts: dict[str, Any], name: Any, machines: Machines) -> Row:
    try:
        readings = facts.pop("readings", None)
        facts.pop("verdict", None)
        row = Row(**facts, machine=_known(name, machines))
        if readings is None:
            return row
        return row.with_readings(_readings(readings, name, machines))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _readings(content: Any, here: str, machines: Machines) -> tuple[Reading, ...]:
    """Parse the readings of a row; one that names no machine is of the row's, `here`."""
    right = isinstance(content, list) and content
    _require(right, "'readings' is not a list of readings")
    readings = []
    for i, each in enumerate(content):
        _require(isinstance(each, dict), f"reading {i} is not an object")
        _check_fields(f"reading {i}", each, ("time", "measured"), READING)
        try:
            machine = _known(each.get("machine", here), machines)
            readings.append(Reading(**each | {"machine": machine}))
        except ValueError as error:
            raise ValueError(f"reading {i} {error}") from error
    return tuple(readings)


def _known(name: Any, machines: Machines) -> Mapping[str, Any]:
    _require(name in machines, f"the machine {name!r} is not described")
    return machines[name]


def _check_fields(
    where: str,
    content: Mapping[str, Any],
    required: Iterable[str],
    known: Iterable[str],
) -> None:
    absent = [name for name in required if name not in content]
    _require(not absent, f"{where}: it lacks the fields {', '.join(absent)}")
    unknown = [name for name in content if name not in {*known}]
    _require(not unknown, f"{where}: it has unknown fields: {', '.join(unknown)}")


def _require(valid: Any, reason: str) -> None:
    if not valid:
        raise ValueError(reason)
