"""Read emails (RFC 5322, MIME): headers, the visible text, names of attachments.

`read_mail` takes the bytes of an email and survives malformed ones: headers may be cut,
encodings wrong and parts missing. Attachments are named and never opened.
"""

import codecs
import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, message_from_string, policy
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from html.parser import HTMLParser

from ...catalog import text as words

LIMIT = 2_000_000  # bytes of an email that are looked at
CHARACTERS, HEADER = 20_000, 2000  # of its visible text; of a header
DEPTH, PARTS = 30, 200  # of nested parts; of parts
PAGE = 200_000  # characters of HTML, of all parts
BLOCKS = frozenset({
    "address", "article", "blockquote", "body", "br", "center", "dd", "div", "dl",
    "dt", "fieldset", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hr", "li", "ol", "option", "p", "pre", "section", "table", "td", "th", "title",
    "tr", "ul",
})  # fmt: skip
UNSEEN = frozenset(["head", "script", "style", "template"])
EMPTY = frozenset({
    "br", "hr", "img", "input", "link", "meta", "area", "base", "col", "embed",
    "source", "wbr",
})  # fmt: skip
INVISIBLE = re.compile(
    r"display\s*:\s*none|visibility\s*:\s*hidden"
    r"|font-size\s*:\s*0*\.?0+\s*(?:px|pt|r?em|%)?\s*(?:[;!]|$)"
)
# elements that the next of their kind closes
CLOSED = frozenset(["p", "td", "th", "tr", "li", "dt", "dd", "option"])
FIRST_PART = re.compile(
    r'^--([^\n"]{1,70}?)[ \t\r]*\nContent-', re.MULTILINE | re.IGNORECASE
)
META = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
LARGER = {"gb2312": "gb18030", "gbk": "gb18030", "us-ascii": "cp1252", "ascii": "cp1252",
          "iso-8859-1": "cp1252", "latin-1": "cp1252"}  # fmt: skip
BOMS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
SHOWN = frozenset(["text/plain", "text/html", "text/enriched"])
SIGNATURES = frozenset(["asc", "p7m", "p7s", "pgp", "sig", "application"])


class StructureError(ValueError):
    """An email whose parts cannot be read; the message says why."""


@dataclass(frozen=True)
class Mail:
    """An email as its reader sees it.

    Attributes:
        sender, subject: decoded.
        date: when the last server received it, else the date that it claims; UTC.
        text: the visible text.
        people: the names in its address headers.
        html: whether the text was HTML.
        links, images: their numbers.
        attachments: the endings of the attached files, as in "exe".
        hidden: the number of letters that HTML hides.
        faults: what is wrong with it, as keys of the messages.
    """

    sender: str
    subject: str
    date: datetime | None
    text: str
    people: tuple[str, ...] = ()
    html: bool = False
    links: int = 0
    images: int = 0
    attachments: tuple[str, ...] = ()
    hidden: int = 0
    faults: tuple[str, ...] = ()


def read_mail(content: bytes) -> Mail:
    """Read an email; only its first two megabytes are looked at.

    Raises:
        StructureError: if its parts are nested too deeply or cannot be told apart.
    """
    faults = ["mail.cut"] if len(content) > LIMIT else []
    try:
        message = message_from_bytes(content[:LIMIT], policy=policy.compat32)
        parts = list(_parts(message))
    except RecursionError as cause:
        raise StructureError(words("mail.nested")) from cause
    except (LookupError, ValueError) as cause:
        raise StructureError(words("mail.no_parts")) from cause
    pages: list[_Page] = []
    texts: list[str] = []
    attachments: list[str] = []
    left = PAGE
    for number, part in enumerate(parts):
        name, kind = _file_name(part), part.get_content_type()
        if kind not in SHOWN or _is_attached(part, name, bool(texts)):
            ending = _ending(name, kind)
            if "signature" not in kind or ending not in SIGNATURES:
                attachments.append(ending)
            continue
        text = _decoded(part, faults) if number < PARTS else ""
        start = text[:200].lstrip().lower()
        if kind == "text/html" or start.startswith(("<html", "<!doctype html")):
            if len(text) > left:
                faults.append("mail.cut")
            pages.append(_page(text[:left]))
            left -= min(left, len(text))
            texts.append(pages[-1].visible())
        elif text.strip():
            texts.append(html.unescape(text))
    if not any(message.get(name) for name in ("From", "Subject", "Date", "Received")):
        faults.append("mail.no_headers")
    if len(parts) > PARTS:
        faults.append("mail.parts")
    # of an email that was cut here, the last part is always damaged
    if len(content) <= LIMIT and any(part.defects for part in (message, *parts)):
        faults.append("mail.damaged")
    return Mail(
        sender=_header(message, "From"),
        subject=_header(message, "Subject"),
        date=_date(message),
        text="\n".join(texts)[:CHARACTERS],
        people=_people(message),
        html=bool(pages),
        links=sum(page.links for page in pages),
        images=sum(page.images for page in pages),
        attachments=tuple(attachments),
        hidden=sum(page.hidden for page in pages),
        faults=tuple(dict.fromkeys(faults)),
    )


def _page(text: str) -> "_Page":
    try:
        return _Page(text)
    except AssertionError:  # a declaration that the parser does not know
        return _Page(text.replace("<![", " "))


class _Page(HTMLParser):
    """The visible text of an HTML page, its links and its images."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.links = self.images = self.hidden = 0
        self.unseen: list[str] = []  # the open elements inside an invisible one
        self.open: Counter[str] = Counter()  # how often each is in `unseen`
        self.feed(f"{text}\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        self.links += tag == "a" and bool(own.get("href"))
        self.images += tag == "img"
        if tag in BLOCKS:
            self.pieces.append("\n")
            if self.open["head"] and tag != "title":
                self.handle_endtag("head")
        if tag in CLOSED and self.unseen and self.unseen[-1] == tag:
            self.handle_endtag(tag)
        if tag == "body":
            self.unseen.clear()
            self.open.clear()
            return
        hides = tag in UNSEEN or INVISIBLE.search(own.get("style", "").lower())
        if tag not in EMPTY and (hides or self.unseen):
            self.unseen.append(tag)
            self.open[tag] += 1

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")
        if self.open[tag]:
            while True:
                last = self.unseen.pop()
                self.open[last] -= 1
                if last == tag:
                    break

    def handle_data(self, data: str) -> None:
        if not self.unseen:
            self.pieces.append(data)
        elif not any(self.open[name] for name in UNSEEN):
            self.hidden += sum(c.isalpha() for c in data)

    def visible(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self.pieces).split("\n"))
        return "\n".join(line for line in lines if line)


def _parts(message: Message, depth: int = 0) -> Iterator[Message]:
    if depth > DEPTH:
        raise RecursionError
    if not message.is_multipart():
        yield from _undivided(message, depth)
        return
    parts = [part for part in message.get_payload() if isinstance(part, Message)]
    if message.get_content_type() == "multipart/alternative":
        shown = [part for part in parts if _is_shown(part)]
        parts = (shown or parts)[-1:]  # a reader sees the last of them
    for part in parts:
        yield from _parts(part, depth + 1)


def _undivided(message: Message, depth: int) -> Iterator[Message]:
    """Yield a part, or its own parts if only the border that it names is wrong."""
    if message.get_content_maintype() != "multipart":
        yield message
        return
    content = str(message.get_payload())
    found = FIRST_PART.search(content)
    kind = f'multipart/mixed; boundary="{found[1]}"' if found else "text/plain"
    mended = message_from_string(f"Content-Type: {kind}\n\n{content}")
    mended.defects = [*message.defects, *mended.defects]
    if found and mended.is_multipart():
        yield from _parts(mended, depth + 1)
    elif not found:
        yield mended


def _is_shown(part: Message) -> bool:
    """Whether a mail program would show something of a part."""
    return any(
        each.get_content_type() in ("text/plain", "text/html")
        and not each.is_multipart()
        and str(each.get_payload()).strip() != ""
        for each in part.walk()
    )


def _is_attached(part: Message, name: str, has_text: bool) -> bool:
    disposition = str(part.get("Content-Disposition", "")).strip().lower()
    return disposition.startswith("attachment") or (bool(name) and has_text)


def _decoded(part: Message, faults: list[str]) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):  # no text, although it says so
        return ""
    cut = len(content) > 4 * PAGE
    content = content[: 4 * PAGE]
    try:
        declared = part.get_content_charset()
    except ValueError:
        declared = None
    if declared is None and (found := META.search(content[:2000])):
        declared = found[1].decode().lower()
    encoding = LARGER.get(declared or "ascii", declared)
    first = ("utf-8",) if declared in (None, "us-ascii", "ascii") else ()
    text = _text(content, (*first, encoding, "utf-8"), cut)
    if text is not None:
        return text
    if declared not in (None, "us-ascii"):
        faults.append("mail.encoding")
    try:
        return content.decode(encoding or "cp1252", "replace")
    except (LookupError, ValueError):
        return content.decode("cp1252", "replace")


def _text(
    content: bytes, encodings: Sequence[str | None], cut: bool = False
) -> str | None:
    """Decode with the first encoding that fits; None if none does.

    Args:
        cut: whether the last character may be incomplete.
    """
    for encoding in encodings:
        try:
            if not _is_of_text(encoding or "ascii"):
                continue
            decoder = codecs.getincrementaldecoder(_order(encoding, content))()
            return decoder.decode(content, not cut)
        except (LookupError, ValueError, TypeError):
            continue
    return None


def _is_of_text(encoding: str) -> bool:
    """Whether an encoding is one of characters, unlike base64 or zlib."""
    empty = codecs.getincrementaldecoder(encoding)().decode(b"")
    return isinstance(empty, str)


def _order(encoding: str | None, content: bytes) -> str:
    """Return the encoding; of UTF-16 without a mark, with the order of its bytes."""
    if codecs.lookup(encoding or "ascii").name != "utf-16" or content[:2] in BOMS:
        return encoding or "ascii"
    # in most languages, the upper bytes of the characters are few
    return f"utf-16-{'le' if len({*content[1::2]}) <= len({*content[::2]}) else 'be'}"


def _header(message: Message, name: str) -> str:
    """Return the first header of a name, decoded, on one line."""
    return next(_headers(message, name), "")


def _headers(message: Message, name: str) -> Iterator[str]:
    for own, value in message.raw_items():
        if own.lower() == name.lower():
            yield _words(_raw(value))


def _raw(value: object) -> str:
    """Return a header as it was sent, on one line."""
    content = str(value)[:HEADER].encode("utf-8", "surrogateescape")
    text = _text(content, ("utf-8", "gb18030", "cp1252")) or content.decode("latin-1")
    return " ".join(text.split())


def _words(raw: str) -> str:
    """Decode the encoded words of a header."""
    pieces = []
    try:
        for piece, encoding in decode_header(raw):
            if isinstance(piece, bytes):
                known = LARGER.get((encoding or "").lower(), encoding)
                text = _text(piece, (known, "utf-8"))
                piece = piece.decode("latin-1") if text is None else text
            pieces.append(piece)
    except (ValueError, HeaderParseError):  # a header that only claims to be encoded
        pieces = [raw]
    return " ".join("".join(pieces).split())


def _date(message: Message) -> datetime | None:
    received = [
        str(value).rpartition(";")[2] for value in message.get_all("Received", [])
    ]
    for value in [*received[:PARTS], str(message.get("Date", ""))]:
        try:
            date = parsedate_to_datetime(value.strip()[:HEADER])
        except (TypeError, ValueError, IndexError, OverflowError):
            continue
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        try:
            return date.astimezone(UTC)
        except OverflowError:
            continue
    return None


def _people(message: Message) -> tuple[str, ...]:
    wanted = ("from", "to", "cc", "reply-to")
    raw = [_raw(value) for name, value in message.raw_items() if name.lower() in wanted]
    try:
        names = [_words(name) for name, _ in getaddresses(raw[:PARTS])]
    except (ValueError, IndexError, RecursionError):
        names = []
    return tuple(dict.fromkeys(name for name in names if name))


def _file_name(part: Message) -> str:
    """Return the name of an attached file, without what could hide its ending."""
    try:
        name = part.get_filename() or ""
    except (LookupError, ValueError, TypeError):
        return "?"
    shown = (c for c in _words(name) if unicodedata.category(c) not in ("Cf", "Cc"))
    return "".join(shown).strip(" .\xa0")


def _ending(name: str, kind: str) -> str:
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return ending if re.fullmatch(r"\w{1,8}", ending) else kind.partition("/")[0]
