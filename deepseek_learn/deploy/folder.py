"""Write a folder atomically: one writer at a time, and the folder appears complete."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # this system has no flock
    fcntl = None  # type: ignore[assignment]  # checked by `is None`


@contextmanager
def exclusive_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder next to `path`, renamed to `path` on success.

    The previous folder is replaced at that moment. A crash, a full disk or an exception
    inside the block leaves it unchanged. The temporary folder is locked: the system
    releases the lock when the process ends, however it ends, and the next writer removes
    whatever a killed process left behind.

    Raises:
        FileExistsError: if another process, or another thread, is writing `path`.
    """
    path = Path(path).resolve()  # resolves a link: the folder itself is replaced
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
        # only on failure: after the rename, the old name may belong to another writer
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _acquire(folder: Path, path: Path) -> int | None:
    """Return a descriptor that locks the folder until closed; None without flock."""
    if fcntl is None:
        folder.mkdir(exist_ok=True)
        return None
    while True:
        folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # renamed or removed meanwhile: retry
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                _lock(descriptor, path)
                if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FileExistsError(
            f"{path} is being written by another process: wait until it has finished, or "
            f"choose another folder."
        ) from None
    except OSError:  # a file system without locks: assume no other writer
        pass


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
