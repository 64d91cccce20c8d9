"""Exceptions of the tuner."""

from ..errors import DeepSeekLearnError


class TunerError(DeepSeekLearnError):
    """A search cannot start or continue; the message says why."""


class StorageError(TunerError):
    """The storage of a study cannot be opened, read or written."""


class ObjectiveError(TunerError):
    """The objective returned or reported something other than the required numbers."""
