"""What goes wrong in a search, one sentence each."""

from ..errors import DeepSeekLearnError


class TunerError(DeepSeekLearnError):
    """A search that cannot begin or cannot go on; the message says why."""


class StorageError(TunerError):
    """The storage of a study cannot be opened, read or written."""


class ObjectiveError(TunerError):
    """The objective answered with something other than what it was asked for."""
