"""Where a study is stored: memory, a Journal file, a database, or any Optuna storage."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..errors import DamagedFileError
from ..installation import pip
from .engine import optuna, quiet
from .errors import StorageError, TunerError
from .goals import Goals
from .space import Distribution, write_space
from .workers import requeue

Storage = str | Path | optuna.storages.BaseStorage | None

# A worker writes a line in milliseconds: a lock that old was left by a dead one.
LOCK_GRACE_S = 10
# For databases: a worker sends a heartbeat every HEARTBEAT_S, and is presumed dead after
# GRACE_S without one.
HEARTBEAT_S, GRACE_S = 20, 90
ATTEMPTS = 5


def open_storage(storage: Storage, write: bool = True) -> "optuna.storages.BaseStorage":
    """Open the storage that `storage` names; `write=False` leaves a file unchanged.

    Raises:
        StorageError: if it cannot be opened; the message says what to do.
        DamagedFileError: if the file is not a Journal.
        TypeError: if `storage` is not None, a path, a URL or an Optuna storage.
    """
    if storage is None:
        return optuna.storages.InMemoryStorage()
    if isinstance(storage, optuna.storages.BaseStorage):
        return storage
    if isinstance(storage, str) and "://" in storage:
        return _database(storage)
    if isinstance(storage, str | Path):
        return _journal(Path(storage), write)
    raise TypeError(
        f"storage must be None, a path, a database's URL or an Optuna storage; got "
        f"{storage!r}."
    )


def open_study(
    storage: "optuna.storages.BaseStorage",
    name: str,
    goals: Goals,
    space: dict[str, Distribution],
    sampler: Any,
) -> "optuna.Study":
    """Create or resume the study `name`.

    Raises:
        TunerError: if it was created with a different space or different objectives.
        StorageError: if it cannot be written.
    """
    with quiet(), answering(f"study {name!r}"):
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            directions=goals.directions,
            sampler=sampler,
            pruner=optuna.pruners.NopPruner(),  # Optuna's default would stop trials
            load_if_exists=True,
        )
        attributes = study.user_attrs
        if "goals" not in attributes and study.get_trials(deepcopy=False):
            raise TunerError(
                f"study {name!r} was not created by AutoTuner: choose another name."
            )
        if "goals" not in attributes:
            study.set_metric_names([*goals.names])
            study.set_user_attr("space", write_space(space))
            # last: its presence says that the study is complete
            study.set_user_attr("goals", goals.to_dict())
        else:
            _same_goals(name, Goals.of(attributes["goals"]), goals)
            _same_space(name, attributes["space"], write_space(space))
    return study


@contextmanager
def answering(what: str) -> Iterator[None]:
    """Raise a storage's error again as a one-sentence `StorageError`."""
    try:
        yield
    except Exception as error:
        cause = _storage_error(error)
        if cause is None:
            raise
        raise StorageError(f"{what} cannot be used: {_first_line(cause)}") from error


def _journal(path: Path, write: bool) -> "optuna.storages.JournalStorage":
    if path.is_dir():
        raise StorageError(f"storage must be the path of a file; {path} is a folder.")
    from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

    with answering(f"storage {str(path)!r}"), quiet():
        lock = JournalFileSymlinkLock(str(path), grace_period=LOCK_GRACE_S)
        if write:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()  # no one else writes now: a torn line stays torn
        try:
            with path.open("ab" if write else "rb"):
                pass  # raise now if the file cannot be written
            _check_lines(path, write)
        finally:
            if write:
                lock.release()
        backend = JournalFileBackend(str(path), lock_obj=lock)
        return optuna.storages.JournalStorage(backend)


def _check_lines(path: Path, write: bool) -> None:
    """Check that every line is a complete Journal entry.

    Optuna would accept a torn last line, and the next line it writes would corrupt the
    file. A reader accepts one, since a worker may still be writing that line.
    """
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.startswith(b"SQLite format 3"):
                raise StorageError(
                    f"{path} is an SQLite database: write  storage='sqlite:///{path}'"
                )
            torn = not line.endswith(b"\n")
            if torn and not write:
                return
            if torn or not _is_entry(line):
                raise DamagedFileError(
                    f"{path} is not an Optuna Journal file, or it is damaged: line "
                    f"{number} is no entry of one. If it is the last, delete that line."
                )


def _is_entry(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _database(url: str) -> "_Database":
    """Open a database; workers that create its tables at the same time retry."""
    for attempt in range(ATTEMPTS):
        try:
            with quiet():
                return _Database(
                    url,
                    heartbeat_interval=HEARTBEAT_S,
                    grace_period=GRACE_S,
                    heartbeat_stale_trial_callback=requeue,
                )
        except Exception as error:
            late = type(error).__name__ in ("IntegrityError", "ProgrammingError")
            late |= "already exists" in str(error)
            if not late or attempt == ATTEMPTS - 1:
                raise _opening_error(url, error) from error
            time.sleep(0.2 * (attempt + 1))
    raise AssertionError("the last attempt returns or raises")


class _Database(optuna.storages.RDBStorage):
    """A database that keeps a trial's heartbeat thread alive if one heartbeat fails."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(optuna.exceptions.StorageInternalError):
            super().record_heartbeat(trial_id)


def _opening_error(url: str, error: Exception) -> Exception:
    safe_url = hide_password(url)
    if isinstance(error, ImportError):
        return StorageError(
            f"storage {safe_url!r} needs a database driver that is not installed; for "
            f'PostgreSQL run  {pip()} install "psycopg[binary]"  and write '
            f"postgresql+psycopg://…"
        )
    if _is_driver_error(error) or isinstance(error, RuntimeError):
        return StorageError(
            f"storage {safe_url!r} cannot be opened: {_first_line(error)}"
        )
    return error


def hide_password(url: str) -> str:
    """Return the URL with *** in place of its password."""
    import sqlalchemy

    try:
        parsed = sqlalchemy.engine.make_url(url)
    except sqlalchemy.exc.ArgumentError:
        return url.partition("://")[0] + "://…"
    return parsed.render_as_string(hide_password=True)


def _same_goals(name: str, old: Goals, new: Goals) -> None:
    if old != new:
        raise TunerError(
            f"study {name!r} was created with {_summary(old)}; it cannot be resumed "
            f"with {_summary(new)}: choose another name."
        )


def _same_space(name: str, old: dict[str, str], new: dict[str, str]) -> None:
    if old == new:
        return
    changed = sorted(n for n in {*old, *new} if old.get(n) != new.get(n))
    differences = [
        f"{n} was {_short(old.get(n))}, is {_short(new.get(n))}" for n in changed
    ]
    raise TunerError(
        f"study {name!r} was created with another space ({'; '.join(differences)}): "
        f"choose another name."
    )


def _short(entry: str | None) -> str:
    if entry is None:
        return "absent"
    attributes = json.loads(entry)["attributes"]
    if "choices" in attributes:
        return str(attributes["choices"])
    low, high, log = (attributes.get(k) for k in ("low", "high", "log"))
    return f"({low}, {high}, 'log')" if log else f"({low}, {high})"


def _summary(goals: Goals) -> str:
    fields = goals.to_dict()
    return ", ".join(f"{key}={value}" for key, value in fields.items() if value)


def _storage_error(error: BaseException) -> BaseException | None:
    """Return the storage's own error behind `error`, or None if it has another cause.

    Optuna wraps it, and raises `UnboundLocalError` if it fails to store a result.
    """
    wrappers = (optuna.exceptions.StorageInternalError, UnboundLocalError)
    cause = error
    while isinstance(cause, wrappers) and (cause.__cause__ or cause.__context__):
        cause = cause.__cause__ or cause.__context__ or cause
    classes = (OSError, optuna.exceptions.StorageInternalError)
    return cause if isinstance(cause, classes) or _is_driver_error(cause) else None


def _is_driver_error(error: BaseException) -> bool:
    return type(error).__module__.startswith(("sqlalchemy.", "grpc."))


def _first_line(error: BaseException) -> str:
    """Return the driver's own message, without SQLAlchemy's statement and link."""
    cause: Any = getattr(error, "orig", None) or getattr(error, "strerror", None)
    if callable(details := getattr(error, "details", None)):  # a gRPC error
        cause = details()
    cause = cause or error
    lines: Sequence[str] = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0].rstrip(".") + "."
