"""Walk folders with untrusted contents, of any depth, without following links.

A folder tree can be deeper than Python's recursion limit, PATH_MAX and the limit of open
files. Therefore only the current folder is open, and its parent is reached by "..".
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY


def walk(folder: str | Path) -> Iterator[tuple[int, str, bool]]:
    """Yield (file descriptor of the parent, name, whether it is a folder).

    A folder comes after its contents, so that it can be removed.

    Raises:
        OSError: if a folder cannot be opened, or is moved during the walk.
    """
    here = os.open(folder, DIRECTORY)
    queue = [os.listdir(here)]  # for each folder on the path: the names still to visit
    way: list[
        tuple[str, tuple[int, int]]
    ] = []  # each folder's name, and its parent's identity
    try:
        while queue:
            if queue[-1]:
                name = queue[-1].pop()
                if _is_folder(name, here):
                    way.append((name, _identity(here)))
                    here = _go(name, here)
                    queue.append(os.listdir(here))
                else:
                    yield here, name, False
            else:
                queue.pop()
                if way:
                    name, above = way.pop()
                    here = _go("..", here)
                    if _identity(here) != above:
                        raise OSError(f"a folder in {folder} was moved meanwhile")
                    yield here, name, True
    finally:
        os.close(here)


def chown(folder: str | Path, user: int) -> None:
    """Change the owner of a folder and its contents, which needs root."""
    for parent, name, _ in walk(folder):
        os.chown(name, user, user, dir_fd=parent, follow_symlinks=False)
    os.chown(folder, user, user)


def remove(folder: str | Path) -> None:
    """Remove a folder and its contents, whatever their permissions are."""
    for parent, name, is_folder in walk(folder):
        delete = os.rmdir if is_folder else os.unlink
        try:
            delete(name, dir_fd=parent)
        except PermissionError:
            os.fchmod(parent, stat.S_IRWXU)
            delete(name, dir_fd=parent)
    os.rmdir(folder)


@contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Yield a new folder, and remove it with all its contents afterwards."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        remove(folder)


def _go(name: str, here: int) -> int:
    """Open the folder `name` instead of `here`."""
    try:
        there = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=here)
        there = os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def _is_folder(name: str, parent: int) -> bool:
    facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return stat.S_ISDIR(facts.st_mode)


def _identity(folder: int) -> tuple[int, int]:
    facts = os.fstat(folder)
    return facts.st_dev, facts.st_ino
