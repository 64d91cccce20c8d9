"""Atomic file writes, and locks that exclude other writers."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # flock is not available on this system
    fcntl = None  # type: ignore[assignment]  # checked by `is None`

REPOSITORY = Path(__file__).resolve().parents[1]  # only valid in a checkout
LEFTOVER = ".partial"  # how a temporary folder's name ends
_searched: set[Path] = set()  # folders in which leftovers have been looked for


@contextmanager
def atomic_write(path: str | Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path and rename it to `path` if the block succeeds.

    If the block raises an exception, the process crashes or the disk is full, the
    existing file is left unchanged. The temporary file has the name of `path` and is in
    a temporary folder beside it, so that a library may replace it; its permissions
    become `mode` without the bits of the umask. What a killed process left there, the
    next process that writes into the folder removes; a lock tells it which temporary
    folders are still in use.

    >>> with atomic_write("progress.json") as temporary:        # doctest: +SKIP
    ...     temporary.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.resolve())
    lock, folder = _locked_folder(path)
    temporary = folder / path.name
    umask = os.umask(0)
    os.umask(umask)
    try:
        temporary.touch()
        yield temporary
        temporary.chmod(mode & ~umask)
        with temporary.open("rb") as content:
            os.fsync(content.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _locked_folder(path: Path) -> tuple[int | None, Path]:
    """Create a folder beside `path`, locked until the returned descriptor is closed.

    A folder is locked, not the file in it: safetensors replaces the file.
    """
    while True:
        folder = Path(tempfile.mkdtemp(LEFTOVER, f".{path.name}.", dir=path.parent))
        if fcntl is None:
            return None, folder
        try:
            lock = os.open(folder, os.O_RDONLY)
        except FileNotFoundError:  # another process took it for a leftover
            continue
        with suppress(OSError):  # the file system has no locks
            fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(folder)):
                return lock, folder
        os.close(lock)  # another process took it for a leftover before it was locked


def _remove_leftovers(folder: Path) -> None:
    """Remove unlocked temporary folders; a folder is searched once per process."""
    if fcntl is None or folder in _searched:
        return
    _searched.add(folder)
    for leftover in folder.glob(f".*.????????{LEFTOVER}"):
        with suppress(OSError):  # it is locked, or there are no locks, or it is gone
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(leftover)
            finally:
                os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a loss of power."""
    with suppress(OSError):  # a system that cannot open or sync folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def exclusive(descriptor: int, path: Path) -> None:
    """Lock an open file or folder until it is closed or the process ends.

    Where the system or the file system has no locks, no other writer is assumed.

    Raises:
        FileExistsError: if another process or thread holds the lock; the message names
            `path`.
    """
    if fcntl is None:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileExistsError(
            f"{path} is being written by another process: wait until it finishes, or "
            f"choose another folder."
        ) from None
    except OSError:  # the file system has no locks
        pass
