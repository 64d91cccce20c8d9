"""Run an entry in a sandboxed process, query it, and read its processor time.

The time is the kernel's accounting for the process and its threads; the entry may not
start other processes. Changing its own clock does not change the accounting.
"""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import REPOSITORY
from ..sandbox import (
    CodeRaised,
    Sandbox,
    Session,
    ValueRefused,
    copies,
    isolation,
)
from .entry import Entry
from .source import EntryError, original_line
from .track import Track
from .worker import CODE, ENTRY, ROOM

CLOSED = "namespaces"  # the isolation that hides the test data
LINE = re.compile(r"^line (\d{1,6}): ")
PACKAGE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Process:
    """An entry that has been imported in a sandbox."""

    session: Session
    entry: Entry

    def ask(self, question: str, *arguments: Any) -> Any:
        """Query the entry and return its answer: data that must be validated.

        Raises:
            EntryError: if the entry fails, ends its process or takes too long.
        """
        return self._call("answer", question, *arguments)

    def begin(self, track: str, seed: int) -> None:
        """Import the entry; see `ask` for the exceptions."""
        self._call("begin", track, seed)

    def _call(self, function: str, *arguments: Any) -> Any:
        name = f"{self.entry.name}.py"
        try:
            return self.session.call(function, *arguments)
        except CodeRaised as error:
            message = str(error).removeprefix(f"{error.kind}: ")
            known = error.kind in ("EntryError", "TimeoutError", "Ended")
            what = message if known else f"it ended with {error}."
            what = LINE.sub(self._original, what)
            raise EntryError(f"{name}: {what}") from None
        except ValueRefused as error:
            raise EntryError(f"{name}: {error}") from None

    def _original(self, line: re.Match[str]) -> str:
        """Name the line of the file, where the process knows that of its code."""
        return f"line {original_line(self.entry.source, int(line[1]))}: "

    def cpu_seconds(self) -> float:
        """Return the processor time of the entry's process and its descendants."""
        return cpu_seconds(self.session.running.process.pid)


@contextmanager
def started(entry: Entry, track: Track, seed: int) -> Iterator[Process]:
    """Import an entry in a sandbox, which ends with the block.

    Args:
        seed: of the entry's own random numbers; it must not reveal the problem's.

    Raises:
        EntryError: if the import fails.
    """
    with tempfile.TemporaryDirectory(prefix="entry-") as name:
        folder = Path(name)
        (folder / ENTRY).write_text(entry.code, "utf-8")
        (folder / ROOM).write_text(CODE)
        sandbox = Sandbox(
            folder,
            track.seconds,
            track.memory_mib,
            hidden=hidden(),
            # the time of a child that nobody waits for is not accounted
            children=isolation() != CLOSED,
        )
        with Session.open(folder / ROOM, sandbox) as session:
            process = Process(session, entry)
            process.begin(track.name, seed)
            yield process


def hidden() -> list[Path]:
    """Return the paths that an entry must not read, in each copy of this package.

    These are the data and weights that the tracks score with, and the results; in a
    checkout also the other entries and the records.
    """
    parts = ("data/files", "zoo/weights", "ledger/results")
    paths = [package / part for package in copies(PACKAGE.name) for part in parts]
    return [*paths, REPOSITORY / "leaderboard", REPOSITORY / "benchmarks"]


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and all its descendants (Linux).

    Raises:
        EntryError: where the system has no /proc.
    """
    if not Path("/proc/self/stat").exists():
        raise EntryError("this track measures processor time, which needs Linux.")
    parents, ticks = {}, {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:  # the process has just ended
            continue
        number = int(path.parent.name)
        parents[number] = int(fields[1])
        ticks[number] = sum(map(int, fields[11:15]))  # own and ended children's
    family = {pid}
    while more := {n for n, parent in parents.items() if parent in family} - family:
        family |= more
    return sum(ticks.get(n, 0) for n in family) / os.sysconf("SC_CLK_TCK")
