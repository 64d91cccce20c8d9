"""The output of a solution: one JSON line per item, in a file that survives crashes.

Lines are written by a single call and flushed to the disk, so a killed process leaves at
most one incomplete line at the end of the file. That line is removed when the file is
opened again, and its item is judged once more. No item is lost or judged twice.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..files import exclusive

KEYS = ("name", "sha256", "verdict")  # of every line


class Verdicts:
    """The verdicts on the items of one folder; a context manager.

    An item is identified by its name and by the SHA-256 of its content. A file that has
    changed since the last verdict on its name is judged again, even if it has become what
    it was before.

    Args:
        path: the file, which is created if it does not exist.

    Raises:
        FileExistsError: on entering, if another process is writing to the file.
        ValueError: on entering, if a complete line is not a verdict.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._all: list[dict[str, Any]] = []
        self._last: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            exclusive(self._file, self.path)
            self._read()
        except BaseException:
            os.close(self._file)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._file)

    def __contains__(self, item: tuple[str, str]) -> bool:
        """Whether the last verdict on the item's name is on this content (SHA-256)."""
        name, digest = item
        return name in self._last and self._last[name]["sha256"] == digest

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def latest(self) -> list[dict[str, Any]]:
        """Return the last verdict on each name, in the order in which they were given."""
        return [*self._last.values()]

    def add(self, *verdicts: dict[str, Any]) -> None:
        """Append verdicts, each of which must contain all of `KEYS`.

        Raises:
            OSError: if the lines cannot be written, for example because the disk is full;
                then none of them is. Also if the file has been deleted.
        """
        # a file name that is not UTF-8 contains lone surrogates, which JSON escapes
        text = "".join(json.dumps(own, ensure_ascii=False) + "\n" for own in verdicts)
        line = text.encode(errors="backslashreplace")
        size = os.lseek(self._file, 0, os.SEEK_END)
        if os.fstat(self._file).st_nlink == 0:
            raise OSError(f"{self.path} was deleted while it was being written.")
        try:
            if os.write(self._file, line) != len(line):
                raise OSError("the disk is full")
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, size)
            reason = error.strerror or error
            raise OSError(f"{self.path} cannot be written: {reason}.") from error
        for verdict in verdicts:
            self._remember(verdict)

    def _remember(self, verdict: dict[str, Any]) -> None:
        self._all.append(verdict)
        self._last.pop(
            verdict["name"], None
        )  # so that the order is that of the verdicts
        self._last[verdict["name"]] = verdict

    def _read(self) -> None:
        content = self.path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            os.ftruncate(self._file, complete)
        self._all, self._last = [], {}
        for number, line in enumerate(content[:complete].splitlines(), 1):
            try:
                verdict = json.loads(line)
                if not all(isinstance(verdict[key], str) for key in KEYS):
                    raise TypeError
            except (ValueError, KeyError, TypeError, RecursionError):
                raise ValueError(
                    f"{self.path}: line {number} is not a verdict; move the file away, "
                    f"or choose another folder."
                ) from None
            self._remember(verdict)


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
