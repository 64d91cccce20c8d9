"""Finished runs, one JSON line each: an interrupted script resumes where it stopped.

A line with nothing but the protocol's hash and a machine is a heading, which holds for the
lines below it. Long lists are packed (`packed.py`).
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepseek_learn.ledger.readings import now
from deepseek_learn.ledger.results import machine, same_machine

from .packed import pack, unpack

HEADING = {"protocol", "machine"}
LATER = "\nAdded later"  # what follows changes no run, so finished runs stay valid


class Runs:
    """The runs in one script's file, from the same protocol and the same machine.

    Args:
        path: the file; its folder is created.
        protocol: the script's docstring: a changed one invalidates old lines.
            Text from a paragraph "Added later" on is not part of it.
        anew: ignore existing lines.
        anywhere: lines of any machine count: what they hold does not depend on it.
    """

    def __init__(
        self, path: Path, protocol: str, anew: bool = False, anywhere: bool = False
    ):
        self.path, self.machine, self.anywhere = path, machine(), anywhere
        stated = protocol.partition(LATER)[0]
        self.protocol = hashlib.sha256(stated.encode()).hexdigest()[:12]
        path.parent.mkdir(parents=True, exist_ok=True)
        if anew:
            path.unlink(missing_ok=True)
        self._heading: dict[str, Any] | None = None  # the last one in the file
        self.rows = [row for row in self._lines() if self._counts(row)]

    def once(self, key: dict[str, Any], measure: Callable[[], dict]) -> dict:
        """The result of `measure` for this `key`, computed now or in a finished run."""
        row = self.find(key)
        return self.record(key, measure()) if row is None else row

    def find(self, key: dict[str, Any]) -> dict | None:
        """The first finished run with this key."""
        for row in self.rows:
            if all(row.get(name) == value for name, value in key.items()):
                return row
        return None

    def record(self, key: dict[str, Any], result: dict) -> dict:
        """Add a line for a run that has just ended."""
        heading = {"protocol": self.protocol, "machine": self.machine}
        line = key | result | {"time": now()}
        self._append(*([line] if heading == self._heading else [heading, line]))
        self._heading = heading
        row = _dated(line | heading)
        self.rows.append(row)
        hidden = ("protocol", "machine", "date", "time")
        visible = {k: v for k, v in row.items() if k not in hidden}
        print(", ".join(f"{k} {_short(v)}" for k, v in visible.items()), flush=True)
        return row

    def again(self, key: dict[str, Any], measure: Callable[[], dict]) -> dict:
        """A new result of `measure`, added to the earlier ones: a speed reading."""
        return self.once(key | {"reading": now()}, measure)

    def _append(self, *lines: dict[str, Any]) -> None:
        texts = [json.dumps(pack(json.loads(json.dumps(line)))) for line in lines]
        content = self.path.read_text() if self.path.exists() else ""
        if content and not content.endswith("\n"):  # a truncated line
            texts.insert(0, "")
        with self.path.open("a", encoding="utf-8") as file:
            file.write("\n".join(texts) + "\n")

    def _lines(self) -> Iterator[dict[str, Any]]:
        for text in self.path.read_text().splitlines() if self.path.exists() else ():
            try:
                line = json.loads(text)
            except ValueError:  # a truncated line
                continue
            if set(line) == HEADING:
                self._heading = line
            else:
                yield _dated(unpack(line) | (self._heading or {}))

    def _counts(self, row: dict) -> bool:
        same_protocol = row.get("protocol") == self.protocol
        return same_protocol and (
            self.anywhere or same_machine(row["machine"], self.machine)
        )


def _dated(row: dict[str, Any]) -> dict[str, Any]:
    """Return a run with its day; early lines record nothing else of the time."""
    return {"date": row.get("time", "")[:10]} | row


def end_time(*runs: dict) -> str:
    """When the last of these runs ended; early lines record only the day."""
    return max(run.get("time") or run.get("date") or now() for run in runs)


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 12:
        return f"[{len(value)} values]"
    return f"{value:.5g}" if isinstance(value, float) else str(value)
