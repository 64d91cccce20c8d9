"""Why a portfolio is refused: one sentence, in the language of the reader."""

from typing import Any

from ...catalog import text
from ...errors import DeepSeekLearnError
from ...escaping import printable


class Refused(DeepSeekLearnError):
    """Raised if a portfolio or its certificate is refused.

    Args:
        reason: the key of the sentence in the catalog, without `certificate.`.
        values: what to fill into the sentence; control characters are made visible.
    """

    def __init__(self, reason: str, **values: Any):
        shown = {name: printable(value) for name, value in values.items()}
        super().__init__(text(f"certificate.{reason}", **shown))
        self.reason = reason
