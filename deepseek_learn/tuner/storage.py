"""Storage for studies: memory, a Journal file, a database, or any Optuna storage."""

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

# A worker writes a line within milliseconds, so an older lock belongs to a dead one.
LOCK_GRACE_S = 10
# With a database, a worker sends a heartbeat every HEARTBEAT_S seconds, and is presumed
# dead after GRACE_S seconds without one.
HEARTBEAT_S, GRACE_S = 20, 90
ATTEMPTS = 5


def open_storage(storage: Storage, write: bool = True) -> "optuna.storages.BaseStorage":
    """Open a storage given its path or URL; None creates one in memory.

    An Optuna storage is returned unchanged. With `write=False`, a file is not modified.

    Raises:
        StorageError: if the storage cannot be opened. The message says what to do.
        DamagedFileError: if the file is not a valid Optuna Journal.
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
        f"storage must be None, a path, a database URL or an Optuna storage; got "
        f"{storage!r}."
    )


def open_study(
    storage: "optuna.storages.BaseStorage",
    name: str,
    goals: Goals,
    space: dict[str, Distribution],
    sampler: Any,
) -> "optuna.Study":
    """Create a study, or resume it if it already exists.

    Raises:
        TunerError: if the existing study was not created by `AutoTuner`, or has a
            different space or different objectives.
        StorageError: if the storage cannot be written to.
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
                f"study {name!r} was not created by AutoTuner. Choose a different name."
            )
        if "goals" not in attributes:
            study.set_metric_names([*goals.names])
            study.set_user_attr("space", write_space(space))
            # write this last, because it marks the study as fully initialized
            study.set_user_attr("goals", goals.to_dict())
        else:
            _same_goals(name, Goals.of(attributes["goals"]), goals)
            _same_space(name, attributes["space"], write_space(space))
    return study


@contextmanager
def answering(what: str) -> Iterator[None]:
    """Convert storage errors to a `StorageError` with a one-sentence message."""
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
            lock.acquire()  # nobody else can be writing an incomplete line now
        try:
            with path.open("ab" if write else "rb"):
                pass  # fail early if the file cannot be opened
            _check_lines(path, write)
        finally:
            if write:
                lock.release()
        backend = JournalFileBackend(str(path), lock_obj=lock)
        return optuna.storages.JournalStorage(backend)


def _check_lines(path: Path, write: bool) -> None:
    """Check that every line of the file is a complete Journal entry.

    Optuna itself accepts an incomplete last line, but the next line that it writes
    would then corrupt the file. If `write` is False, an incomplete last line is
    accepted because a worker may still be writing it.
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
                    f"{number} is not a valid entry. If it is the last line, delete it."
                )


def _is_entry(line: bytes) -> bool:
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


def _database(url: str) -> "_Database":
    """Open a database, retrying if other workers are creating its tables."""
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
    """A database storage whose heartbeat thread survives a failed heartbeat."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(optuna.exceptions.StorageInternalError):
            super().record_heartbeat(trial_id)


def _opening_error(url: str, error: Exception) -> Exception:
    safe_url = hide_password(url)
    if isinstance(error, ImportError):
        return StorageError(
            f"storage {safe_url!r} needs a database driver that is not installed; for "
            f'PostgreSQL, run  {pip()} install "psycopg[binary]"  and use a URL that '
            f"starts with postgresql+psycopg://"
        )
    if _is_driver_error(error) or isinstance(error, RuntimeError):
        return StorageError(
            f"storage {safe_url!r} cannot be opened: {_first_line(error)}"
        )
    return error


def hide_password(url: str) -> str:
    """Return the URL with its password replaced by ***."""
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
            f"with {_summary(new)}. Choose a different name."
        )


def _same_space(name: str, old: dict[str, str], new: dict[str, str]) -> None:
    if old == new:
        return
    changed = sorted(n for n in {*old, *new} if old.get(n) != new.get(n))
    differences = [
        f"{n} was {_short(old.get(n))}, now {_short(new.get(n))}" for n in changed
    ]
    raise TunerError(
        f"study {name!r} was created with a different space "
        f"({'; '.join(differences)}). Choose a different name."
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
    """Return the storage error that caused `error`, or None if something else did.

    Optuna wraps storage errors, and raises `UnboundLocalError` when it fails to store a
    result.
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
    """Return the first line of the driver's error message.

    The SQL statement and the link that SQLAlchemy adds are omitted.
    """
    cause: Any = getattr(error, "orig", None) or getattr(error, "strerror", None)
    if callable(details := getattr(error, "details", None)):  # a gRPC error
        cause = details()
    cause = cause or error
    lines: Sequence[str] = str(cause).strip().splitlines() or [type(cause).__name__]
    return lines[0].rstrip(".") + "."
