"""JSON with a checksum, for files that nobody may read after damage to a single bit.

The checksum detects damage, not forgery: whoever may write the file can restore an earlier
one or compute a new checksum.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from ...files import atomic_write

SEAL = "sha256"


def parse(text: str) -> dict[str, Any]:
    """Parse a JSON object, with or without a checksum.

    Raises:
        ValueError: if the text is no JSON object, or a field occurs twice, of which
            `json.loads` would silently take the last.
    """
    facts = json.loads(text, object_pairs_hook=_unique)
    if not isinstance(facts, dict):
        raise ValueError("it is not a JSON object")
    return facts


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the field {name!r} occurs {names.count(name)} times")
    return dict(pairs)


def seal(facts: dict[str, Any]) -> str:
    """Return facts as JSON whose last field is the SHA-256 hash of the others."""
    content = json.dumps(facts, indent=1)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return json.dumps(facts | {SEAL: digest}, indent=1)


def unseal(text: str) -> dict[str, Any]:
    """Return the facts of a sealed text.

    Raises:
        ValueError: unless each byte is the one that `seal` wrote.
    """
    facts = parse(text)
    if SEAL not in facts:
        raise ValueError("it has no checksum")
    del facts[SEAL]
    if seal(facts) != text:
        raise ValueError("its content does not fit its checksum")
    return facts


def write_sealed(path: Path, facts: dict[str, Any]) -> None:
    """Write a sealed file that is on the disk, under its name, when this returns."""
    with atomic_write(path) as temporary:
        temporary.write_text(seal(facts), encoding="utf-8")
