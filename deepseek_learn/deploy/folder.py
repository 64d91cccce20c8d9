"""A folder that one process at a time writes, and that appears whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

try:
    import fcntl
except ImportError:  # no such locks on this system
    fcntl = None


@contextmanager
def exclusive_folder(path: str | Path) -> Iterator[Path]:
    """Give an empty folder beside `path`; it takes that name when the block ends well.

    What was there before is replaced in that moment. A crash, a full disk or an exception
    inside the block leaves it as it was. The folder beside is locked: the system lets go
    of the lock when the process ends, however it ends, and what a killed one left is
    removed by the next.

    Raises:
        FileExistsError: when another process, or another thread, is writing `path`.
    """
    path = Path(path).resolve()  # behind a link: the folder itself is replaced
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.building")
    before = path.with_name(f".{path.name}.before")
    lock = _locked(temporary, path)
    try:
        _clear(temporary)
        _restore(before, path)
        yield temporary
        _replace(path, temporary, before)
    except BaseException:
        # only here it is still ours: renamed, its old name may be another's already
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        if lock is not None:
            os.close(lock)


def _locked(folder: Path, path: Path) -> int | None:
    """The descriptor that holds the folder until it is closed; None without locks."""
    if fcntl is None:
        folder.mkdir(exist_ok=True)
        return None
    while True:
        folder.mkdir(exist_ok=True)
        with suppress(FileNotFoundError):  # it was renamed or removed meanwhile: again
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
            f"{path} is being written by another process: wait until that has ended, or "
            f"choose another folder."
        ) from None
    except OSError:  # a file system that has no locks: as if there were no other
        pass


def _clear(folder: Path) -> None:
    for left in folder.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()


def _restore(before: Path, path: Path) -> None:
    """The earlier folder, where a process was killed while it replaced that."""
    if before.exists() and not path.exists():
        os.replace(before, path)
    shutil.rmtree(before, ignore_errors=True)


def _replace(path: Path, temporary: Path, before: Path) -> None:
    try:
        if path.exists():
            os.replace(path, before)
        os.replace(temporary, path)
    except BaseException:  # an interruption, too
        if before.exists() and not path.exists():
            os.replace(before, path)
        raise
    shutil.rmtree(before, ignore_errors=True)
