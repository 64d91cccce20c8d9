"""Why a portfolio is refused: one sentence, in the language of the reader."""

from typing import Any

from ...catalog import text
from ...errors import DeepSeekLearnError

LONGEST = 200  # characters of what a stranger wrote


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


def printable(value: object) -> str:
    """Return the text of a value without characters that could repaint a screen."""
    words = str(value)
    visible = (c if c.isprintable() else ascii(c)[1:-1] for c in words[:LONGEST])
    return "".join(visible) + ("..." if len(words) > LONGEST else "")
