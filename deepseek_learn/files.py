"""Atomic file writes."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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
