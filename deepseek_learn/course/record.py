"""Store the learner's progress in a small file in the user's data folder.

The file is never sent anywhere. Each record contains the problem and its version, the
outcome, the seed, the library version, a hash of the answer's code, and the time.
"""

import errno
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__
from ..catalog import text
from ..errors import DamagedFileError
from ..files import atomic_write
from . import problems
from .problem import Problem
from .source_code import code_hash

FORMAT = 2  # format 1 had no checksum
FIELDS: dict[str, Any] = {
    "problem": str,
    "version": int,
    "status": str,
    "seed": int,
    "library": str,
}
FIELDS |= {"time": str, "code": str | None}  # a hash, or null
LONGEST = 200  # maximum number of characters in a field
MOST = 1000  # maximum number of records
_notes_shown: set[str] = set()


def home() -> Path:
    """Return the folder in which the learner's progress is stored.

    This is `$DEEPSEEK_LEARN_HOME` if it is set, and otherwise the user's data folder.
    """
    if os.environ.get("DEEPSEEK_LEARN_HOME"):
        return Path(os.environ["DEEPSEEK_LEARN_HOME"])
    import platformdirs

    return Path(platformdirs.user_data_dir("deepseek_learn"))


def remember(problem: Problem, status: str, seed: int, answer: Any) -> str:
    """Add the outcome of a check to the learner's progress.

    Returns:
        An empty string, or the reason why the outcome could not be saved. The same
        reason is returned only once per session.
    """
    record = {"problem": problem.id, "version": problem.version, "status": status}
    record |= {"seed": seed, "library": __version__, "code": code_hash(answer)}
    record["time"] = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        _add([record])
    except DamagedFileError as error:
        return _once(text("progress.damaged", error=str(error)))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        return _once(text("progress.not_kept", folder=str(home()), reason=reason))
    return ""


def read() -> tuple[dict, ...]:
    """Return the learner's records, one dictionary per outcome, oldest first.

    Raises:
        DamagedFileError: if the file is not a progress file or has a newer format.
    """
    return tuple(_read(home() / "progress.json"))


def export_to(path: Path) -> None:
    """Write all records to the file `path`.

    Raises:
        OSError: if the file cannot be written; the message says why.
        DamagedFileError: if the learner's own file is damaged or has a newer format.
    """
    records = list(read())
    with _explain_os_errors("progress.not_exported", path=str(path)):
        _write(path, records)


def import_from(path: Path) -> None:
    """Add the records of an exported file; no pass is ever lost.

    Raises:
        FileNotFoundError: if the file does not exist.
        IsADirectoryError: if it is a folder.
        OSError: if it cannot be read, or the records cannot be stored; the message says
            which and why.
        DamagedFileError: if it is not a progress file or has a newer format; nothing is
            changed.
    """
    if path.is_dir():
        raise IsADirectoryError(text("progress.import_folder", path=str(path)))
    if not path.exists():
        raise FileNotFoundError(text("progress.missing", path=str(path)))
    with _explain_os_errors("progress.not_readable", path=str(path)):
        records = _read(path)
    with _explain_os_errors(
        "progress.not_imported", path=str(path), folder=str(home())
    ):
        _add(records)


@contextmanager
def _explain_os_errors(key: str, **values: str) -> Iterator[None]:
    """Re-raise an `OSError` as an error of the same class with the message `key`."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise type(error)(text(key, reason=reason, **values)) from error


def _add(records: list[dict]) -> None:
    path = home() / "progress.json"
    with _file_lock(path):
        _write(path, _condense(_read(path) + records))


def _condense(records: list[dict]) -> list[dict]:
    """Keep the first pass and the latest other outcome for each problem and version.

    At most `MOST` records are kept. If there are more, records of unknown problems are
    dropped first, followed by failures.
    """
    latest: dict[tuple, dict] = {}
    for record in sorted(records, key=lambda r: r["time"]):
        key = (record["problem"], record["version"])
        if record["status"] == "passed":
            latest.setdefault((*key, "passed"), record)
        else:
            latest[key] = record
    known = set(problems.names())

    def priority(record: dict) -> tuple:
        passed = record["status"] == "passed"
        return record["problem"] in known, passed, record["time"]

    selection = sorted(latest.values(), key=priority)[-MOST:]
    return sorted(selection, key=lambda r: r["time"])


def _read(path: Path) -> list[dict]:
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
        if isinstance(version, int) and version > FORMAT:
            message = text("progress.newer", path=path, found=version, known=FORMAT)
            raise DamagedFileError(message)
        records = content["records"]
        valid = version in (1, FORMAT) and isinstance(records, list)
        valid = valid and all(_is_record(record) for record in records)
        valid = valid and (version == 1 or content["sha256"] == _checksum(records))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFileError(text("progress.not_a_file", path=str(path))) from error
    if not valid:
        raise DamagedFileError(text("progress.not_a_file", path=str(path)))
    return [{field: record.get(field) for field in FIELDS} for record in records]


def _checksum(records: list[dict]) -> str:
    return hashlib.sha256(json.dumps(records, sort_keys=True).encode()).hexdigest()


def _is_record(record: Any) -> bool:
    return isinstance(record, dict) and all(
        isinstance(record.get(field), kind) and len(str(record.get(field))) <= LONGEST
        for field, kind in FIELDS.items()
    )


def _write(path: Path, records: list[dict]) -> None:
    content = {"format": FORMAT, "sha256": _checksum(records), "records": records}
    if path.exists() and not path.stat().st_mode & 0o222:
        # Renaming would replace even a read-only file, which its owner meant to keep.
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Lock the progress file so that parallel notebooks do not lose records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:  # Windows outside WSL
        yield
        return
    with path.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _once(sentence: str) -> str:
    """Return the sentence if it is new in this session, otherwise an empty string."""
    if sentence in _notes_shown:
        return ""
    _notes_shown.add(sentence)
    return sentence
