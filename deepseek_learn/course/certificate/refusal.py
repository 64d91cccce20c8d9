"""The exception with which a portfolio is refused."""

from typing import Any

from ...catalog import text
from ...errors import DeepSeekLearnError
from ...escaping import printable


class Refused(DeepSeekLearnError):
    """Raised if a portfolio or its certificate is refused.

    Args:
        reason: the key of the message in the catalog, without the prefix `certificate.`.
        values: the values for the message's placeholders; control characters in them are
            escaped.
    """

    def __init__(self, reason: str, **values: Any):
        escaped = {name: printable(value) for name, value in values.items()}
        super().__init__(text(f"certificate.{reason}", **escaped))
        self.reason = reason
