"""Text in a charset that nobody checked: bytes, raw headers and encoded words."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE, lookup
from collections.abc import Sequence
from email.errors import HeaderParseError
from email.header import decode_header

# what mail programs write under these names
SUPERSETS = {"gb2312": "gb18030", "gbk": "gb18030", "us-ascii": "cp1252",
             "ascii": "cp1252", "iso-8859-1": "cp1252", "latin-1": "cp1252"}  # fmt: skip


def decode(
    content: bytes, charsets: Sequence[str | None], cut: bool = False
) -> str | None:
    """Decode with the first charset that fits; None if none does.

    Args:
        cut: whether the last character may be incomplete.
    """
    for charset in charsets:
        for tail in range(4 if cut else 1):
            try:
                end = len(content) - tail
                return content[:end].decode(_byte_order(charset or "ascii", content))
            except (LookupError, ValueError):
                continue
    return None


def _byte_order(charset: str, content: bytes) -> str:
    """Return the charset; of UTF-16 without a BOM, with the order of its bytes."""
    is_open = lookup(charset).name == "utf-16"
    if not is_open or content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE):
        return charset
    # in most languages, the upper bytes of the characters are few
    return f"utf-16-{'le' if len({*content[1::2]}) <= len({*content[::2]}) else 'be'}"


def one_line(value: str) -> str:
    """Return a raw header on one line; its 8-bit characters are decoded."""
    content = value.encode("utf-8", "surrogateescape")
    text = decode(content, ("utf-8", "gb18030", "cp1252")) or content.decode("latin-1")
    return " ".join(text.split())


def decode_words(raw: str) -> str:
    """Decode the encoded words of a header (:rfc:`2047`)."""
    pieces = []
    try:
        for piece, charset in decode_header(raw):
            if isinstance(piece, bytes):
                superset = SUPERSETS.get((charset or "").lower(), charset)
                text = decode(piece, (superset, "utf-8"))
                piece = piece.decode("latin-1") if text is None else text
            pieces.append(piece)
    except (ValueError, HeaderParseError):  # a header that only claims to be encoded
        pieces = [raw]
    return " ".join("".join(pieces).split())
