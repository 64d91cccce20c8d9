"""Atomic file writes, and locks that exclude other writers."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # flock is not available on this system
    fcntl = None  # type: ignore[assignment]  # checked by `is None`

REPOSITORY = Path(__file__).resolve().parents[1]  # only valid in a checkout
LEFTOVER = ".partial"  # how a temporary file's name ends
_searched: set[Path] = set()  # folders in which leftovers have been looked for


@contextmanager
def atomic_write(path: str | Path, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path and rename it to `path` if the block succeeds.

    If the block raises an exception, the process crashes or the disk is full, the
    existing file is left unchanged. The temporary file is created in the same folder as
    `path`; its permissions are `mode` without the bits of the umask. What a killed
    process left there, the next process that writes into the folder removes; a lock
    tells it which files are still being written.

    >>> with atomic_write("progress.json") as temporary:        # doctest: +SKIP
    ...     temporary.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.resolve())
    lock, temporary = _locked_temporary(path)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield temporary
        temporary.chmod(mode & ~umask)  # because mkstemp sets the mode to 0600
        with temporary.open("rb") as content:
            os.fsync(content.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
        os.close(lock)


def _locked_temporary(path: Path) -> tuple[int, Path]:
    """Create a file beside `path`, locked until the returned descriptor is closed."""
    while True:
        prefix = f".{path.name}."
        lock, name = tempfile.mkstemp(LEFTOVER, prefix, dir=path.parent)
        if fcntl is not None:
            with suppress(OSError):  # the file system has no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), os.stat(name)):
                return lock, Path(name)
        os.close(lock)  # another process took it for a leftover before it was locked


def _remove_leftovers(folder: Path) -> None:
    """Remove unlocked temporary files; a folder is searched once per process."""
    if fcntl is None or folder in _searched:
        return
    _searched.add(folder)
    for leftover in folder.glob(f".*.????????{LEFTOVER}"):
        with suppress(OSError):  # it is locked, or there are no locks, or it is gone
            descriptor = os.open(leftover, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                leftover.unlink()
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
