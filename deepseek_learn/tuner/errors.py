"""Exceptions raised by the tuner."""

from ..errors import DeepSeekLearnError


class TunerError(DeepSeekLearnError):
    """Raised when a search cannot start or continue; the message explains why."""


class StorageError(TunerError):
    """Raised when the storage of a study cannot be opened, read or written to."""


class ObjectiveError(TunerError):
    """Raised when an objective does not return or report the required numbers."""
