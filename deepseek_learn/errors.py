"""The library's exceptions, and functions that raise them with readable messages.

Each message is a single sentence that states what was passed and what is accepted.
"""

import difflib
import importlib
from collections.abc import Iterable
from numbers import Integral
from types import ModuleType

from .installation import install_command


class DeepSeekLearnError(Exception):
    """Base class for all exceptions defined by this library."""


class UnknownNameError(DeepSeekLearnError, KeyError):
    """Raised for an unknown name; the message suggests the closest known name."""

    def __init__(self, kind: str, name: object, known: Iterable[str]):
        known = sorted(known)
        closest = _closest(str(name), known)
        lead = f"did you mean {closest!r}? The" if closest else "the"
        names = ", ".join(known) or "none"
        super().__init__(
            f"{kind} {name!r} is not known; {lead} known names are: {names}."
        )

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return self.args[0]


class MissingPackageError(DeepSeekLearnError, ImportError):
    """Raised if an optional package is missing; the message says how to install it."""


class DamagedFileError(DeepSeekLearnError):
    """Raised if a file is truncated, has the wrong checksum or has the wrong format."""


def _closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is most similar to `name`, or None if none is close.

    Case is ignored, and hyphens and spaces are treated as underscores.
    """
    normalized = {each.lower().replace("-", "_"): each for each in known}
    query = name.lower().replace("-", "_").replace(" ", "_")
    matches = difflib.get_close_matches(query, normalized, n=1, cutoff=0.7)
    return normalized[matches[0]] if matches else None


def require(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional module and return it.

    Args:
        module: the name of the module.
        extra: the extra of this library that installs it.
        purpose: what the module is needed for, as the subject of the error message.

    Raises:
        MissingPackageError: if the module is not installed; the message states its
            purpose and the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{purpose} needs the package {module.split('.')[0]!r}, which is not "
            f"installed: run  {install_command(extra)}"
        ) from error


def check_count(name: str, count: int) -> None:
    """Raise an error unless `count` is an integer of at least 1.

    Args:
        name: the name of the argument, used in the error message.
        count: the value to check.

    Raises:
        TypeError: if `count` is not an integer.
        ValueError: if `count` is less than 1.
    """
    if not isinstance(count, Integral) or isinstance(count, bool):
        raise TypeError(
            f"{name} must be a whole number of at least 1; got {count!r}, a "
            f"{type(count).__name__}."
        )
    if count < 1:
        raise ValueError(f"{name} must be at least 1; got {count}.")
