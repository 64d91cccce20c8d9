"""Replace a folder atomically, with only one writer at a time."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files import exclusive, fcntl


@contextmanager
def exclusive_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces `path` if the block succeeds.

    The temporary folder is empty and located next to `path`. The previous folder is
    replaced only at the end, so a crash, a full disk or an exception inside the block
    leaves it unchanged. A lock on the temporary folder excludes other writers. The
    operating system releases the lock whenever the process ends, and the next writer
    deletes the files left behind by a killed process.

    Raises:
        FileExistsError: if another process or thread is writing to `path`.
    """
    path = Path(path).resolve()  # if `path` is a link, replace the folder it points to
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.building")
    previous = path.with_name(f".{path.name}.before")
    lock = _acquire(temporary, path)
    try:
        _clear(temporary)
        _restore(previous, path)
        yield temporary
        _replace(path, temporary, previous)
    except BaseException:
        # not after success: another writer may already be using the temporary name
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _acquire(folder: Path, path: Path) -> int | None:
    """Lock the folder and return the file descriptor that holds the lock.

    Return None if flock is not available.
    """
    if fcntl is None:
        folder.mkdir(exist_ok=True)
        return None
    while True:
        folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # retry if it was renamed or removed
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                exclusive(descriptor, path)
                if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _clear(folder: Path) -> None:
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _restore(previous: Path, path: Path) -> None:
    """Restore the previous folder if a process was killed while replacing it."""
    if previous.exists() and not path.exists():
        os.replace(previous, path)
    shutil.rmtree(previous, ignore_errors=True)


def _replace(path: Path, temporary: Path, previous: Path) -> None:
    try:
        if path.exists():
            os.replace(path, previous)
        os.replace(temporary, path)
    except BaseException:  # including KeyboardInterrupt
        if previous.exists() and not path.exists():
            os.replace(previous, path)
        raise
    shutil.rmtree(previous, ignore_errors=True)
