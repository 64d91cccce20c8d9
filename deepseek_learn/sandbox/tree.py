"""Go through folders that a stranger filled, however deep, without following links.

A folder can be deeper than Python may recurse, than a path may be long, and than files
may be open. Only the present folder is open here, and the way up is its "..".
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

FOLDER = os.O_RDONLY | os.O_DIRECTORY


def walk(folder: str | Path) -> Iterator[tuple[int, str, bool]]:
    """Yield (descriptor of the parent, name, whether it is a folder) of all inside.

    A folder comes after what is in it, so that it may be removed then.

    Raises:
        OSError: if a folder cannot be opened, or is moved meanwhile.
    """
    here = os.open(folder, FOLDER)
    queue = [os.listdir(here)]  # the names to visit, of each folder on the way
    way: list[tuple[str, tuple[int, int]]] = []  # each folder's name; who is above it
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


def own(folder: str | Path, user: int) -> None:
    """Give a folder and all in it to a user; only root can."""
    for parent, name, _ in walk(folder):
        os.chown(name, user, user, dir_fd=parent, follow_symlinks=False)
    os.chown(folder, user, user)


def remove(folder: str | Path) -> None:
    """Remove a folder and all in it, even what forbids it."""
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
    """Yield a new folder, and remove it afterwards, whatever a stranger put into it."""
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    finally:
        remove(folder)


def _go(name: str, here: int) -> int:
    """Open the folder `name` instead of `here`."""
    try:
        there = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=here)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=here)
        there = os.open(name, FOLDER | os.O_NOFOLLOW, dir_fd=here)
    os.close(here)
    return there


def _is_folder(name: str, parent: int) -> bool:
    facts = os.stat(name, dir_fd=parent, follow_symlinks=False)
    return stat.S_ISDIR(facts.st_mode)


def _identity(folder: int) -> tuple[int, int]:
    facts = os.fstat(folder)
    return facts.st_dev, facts.st_ino
