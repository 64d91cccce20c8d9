"""The errors of the library: one sentence each, naming what it got and what it takes."""

import difflib
import importlib
from collections.abc import Iterable
from numbers import Integral
from types import ModuleType

from .installation import install_command


class DeepSeekLearnError(Exception):
    """Base class of every error this library raises on purpose."""


class UnknownNameError(DeepSeekLearnError, KeyError):
    """A name that no registry, zoo or loader knows; it says which may be meant."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        known = sorted(known)
        meant = _closest(str(name), known)
        guess = f"did you mean {meant!r}? Known" if meant else "known"
        names = ", ".join(known) or "none"
        super().__init__(f"{kind} {name!r} is not known; {guess} are: {names}.")

    def __str__(self) -> str:  # KeyError would show the repr, in quotes
        return self.args[0]


class MissingPackageError(DeepSeekLearnError, ImportError):
    """An optional package is not installed; the message holds the command."""


class DamagedFileError(DeepSeekLearnError):
    """A file is not what it should be: wrong checksum, truncated, not the format."""


def _closest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` may be a slip of; case and hyphens do not count."""
    plain = {each.lower().replace("-", "_"): each for each in known}
    wanted = name.lower().replace("-", "_").replace(" ", "_")
    found = difflib.get_close_matches(wanted, plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else None


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


def check_count(name: str, count: int) -> None:
    """Refuse a `count` that is no whole number of at least 1."""
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise TypeError(
            f"{name} must be a whole number of at least 1; got {count!r}, a "
            f"{type(count).__name__}."
        )
    if count < 1:
        raise ValueError(f"{name} must be at least 1; got {count}.")
