"""The library's errors: each is one sentence naming what it got and what it accepts."""

import difflib
import importlib
from collections.abc import Iterable
from numbers import Integral
from types import ModuleType

from .installation import install_command


class DeepSeekLearnError(Exception):
    """Base class of every error this library raises on purpose."""


class UnknownNameError(DeepSeekLearnError, KeyError):
    """A name that no registry, zoo or loader knows; the message suggests the closest."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        known = sorted(known)
        closest = _closest(str(name), known)
        lead = f"did you mean {closest!r}? Known" if closest else "known"
        names = ", ".join(known) or "none"
        super().__init__(f"{kind} {name!r} is not known; {lead} are: {names}.")

    def __str__(self) -> str:  # KeyError would show the quoted repr
        return self.args[0]


class MissingPackageError(DeepSeekLearnError, ImportError):
    """An optional package is not installed; the message gives the install command."""


class DamagedFileError(DeepSeekLearnError):
    """A file is invalid: wrong checksum, truncated, or in another format."""


def _closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that `name` may be a typo of, ignoring case and hyphens."""
    normalized = {each.lower().replace("-", "_"): each for each in known}
    query = name.lower().replace("-", "_").replace(" ", "_")
    matches = difflib.get_close_matches(query, normalized, n=1, cutoff=0.7)
    return normalized[matches[0]] if matches else None


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional `module`, or explain in one sentence how to install it.

    Raises:
        MissingPackageError: if it is missing; the message gives the `purpose` and the
            pip command for the `extra`.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not "
            f"installed: run  {install_command(extra)}"
        ) from error


def check_count(name: str, count: int) -> None:
    """Reject a `count` that is not a whole number of at least 1."""
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise TypeError(
            f"{name} must be a whole number of at least 1; got {count!r}, a "
            f"{type(count).__name__}."
        )
    if count < 1:
        raise ValueError(f"{name} must be at least 1; got {count}.")
