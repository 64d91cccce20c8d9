"""The output of a solution: one JSON line per item, in a file that survives crashes.

A line is written by a single call and flushed to the disk, so a killed process leaves at
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

    An item is identified by its name and by the SHA-256 of its content, so that a changed
    file with the same name is judged again.

    Args:
        path: the file, which is created if it does not exist.

    Raises:
        FileExistsError: on entering, if another process is writing to the file.
        ValueError: on entering, if a complete line is not a verdict.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            exclusive(self._file, self.path)
            self._known = self._read()
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
        """Whether the item (name, SHA-256) has a verdict."""
        return item in self._known

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._known.values())

    def __len__(self) -> int:
        return len(self._known)

    def latest(self) -> list[dict[str, Any]]:
        """Return the last verdict on each name, of which a changed file has several."""
        return [*{verdict["name"]: verdict for verdict in self}.values()]

    def add(self, verdict: dict[str, Any]) -> None:
        """Append a verdict, which must contain all of `KEYS`.

        Raises:
            OSError: if the line cannot be written, for example because the disk is full;
                an incomplete line is removed again. Also if the file has been deleted.
        """
        # a file name that is not UTF-8 contains lone surrogates, which JSON escapes
        text = json.dumps(verdict, ensure_ascii=False) + "\n"
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
        self._known[verdict["name"], verdict["sha256"]] = verdict

    def _read(self) -> dict[tuple[str, str], dict[str, Any]]:
        content = self.path.read_bytes()
        complete = content.rfind(b"\n") + 1
        if complete < len(content):
            os.ftruncate(self._file, complete)
        known = {}
        for number, line in enumerate(content[:complete].splitlines(), 1):
            try:
                verdict = json.loads(line)
                name, digest, _ = (verdict[key] for key in KEYS)
                known[name, digest] = verdict
            except (ValueError, KeyError, TypeError):
                raise ValueError(
                    f"{self.path}: line {number} is not a verdict; move the file away, "
                    f"or choose another folder."
                ) from None
        return known


def sha256(content: bytes) -> str:
    """Return the SHA-256 of a file's content as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
