"""The errors of the library: one sentence each, naming what it got and what it takes."""

import importlib
from collections.abc import Iterable
from types import ModuleType

from .installation import install_command


class DeepSeekLearnError(Exception):
    """Base class of every error this library raises on purpose."""


class UnknownNameError(DeepSeekLearnError, KeyError):
    """A name that no registry, zoo or loader knows."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        names = ", ".join(sorted(known)) or "none"
        super().__init__(f"{kind} {name!r} is not known; known are: {names}.")

    def __str__(self) -> str:  # KeyError would show the repr, in quotes
        return self.args[0]


class MissingPackageError(DeepSeekLearnError, ImportError):
    """An optional package is not installed; the message holds the command."""


class DamagedFileError(DeepSeekLearnError):
    """A file is not what it should be: wrong checksum, truncated, not the format."""


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional `module`, or say in one sentence how to install it.

    Raises:
        MissingPackageError: naming the `purpose` and the pip command of the `extra`.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not "
            f"installed: run  {install_command(extra)}"
        ) from error
