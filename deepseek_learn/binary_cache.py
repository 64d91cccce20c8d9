"""The on-disk cache for compiled C++: the DPG kernel and the deployment engine.

Each file name contains a key derived from everything that the build depends on. It also
contains the file's checksum, because a truncated library would crash the process that
loads it.
"""

import hashlib
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import platformdirs

from .files import atomic_write


def cache_folder(name: str = "kernels") -> Path:
    """Return a folder in DEEPSEEK_LEARN_CACHE or in the user's cache."""
    folder = os.environ.get("DEEPSEEK_LEARN_CACHE")
    return Path(folder or platformdirs.user_cache_path("deepseek_learn")) / name


def compiler() -> list[str]:
    """Return the C++ compiler command from CXX, or the system's; empty if not found."""
    cxx = shlex.split(os.environ.get("CXX", ""))
    for command in [cxx] if cxx else [["c++"], ["g++"], ["clang++"]]:
        if path := shutil.which(command[0]):
            return [path, *command[1:]]
    return []


def build_key(sources: bytes, *parts: object) -> str:
    """Return a short hash of the sources and of everything else the build depends on."""
    return hashlib.sha256(sources + repr(parts).encode()).hexdigest()[:24]


def stored(name: str, key: str) -> Iterator[Path]:
    """Yield the cached files for `name` and `key` that match the checksum in their name."""
    for file in cache_folder().glob(f"{name}-{key}-*"):
        with suppress(OSError):
            if file.stem.endswith(checksum(file)):
                yield file


def store(built: Path, name: str, key: str) -> Path:
    """Copy a build to the cache atomically, in case another process does the same."""
    file = cache_folder() / f"{name}-{key}-{checksum(built)}{built.suffix}"
    with atomic_write(file) as temporary:
        shutil.copyfile(built, temporary)
    return file


def checksum(file: Path) -> str:
    """Return the first 16 hexadecimal digits of a file's SHA-256 hash."""
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]
