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


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path and rename it to `path` if the block succeeds.

    If the block raises an exception, the process crashes or the disk is full, the
    existing file is left unchanged. The temporary file is created in the same folder as
    `path`.

    >>> with atomic_write("progress.json") as temporary:        # doctest: +SKIP
    ...     temporary.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    umask = os.umask(0)
    os.umask(umask)
    try:
        yield temporary
        temporary.chmod(0o666 & ~umask)  # because mkstemp sets the mode to 0600
        with temporary.open("rb") as content:
            os.fsync(content.fileno())
        os.replace(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


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
