"""Read emails (RFC 5322, MIME): headers, the visible text, names of attachments.

`read_mail` takes the bytes of an email and survives malformed ones: headers may be cut,
charsets wrong and parts missing. The standard library's `email.policy.default` parses them.
Here is what it leaves open: limits, a boundary (:rfc:`2046`) that separates nothing, and
text that is not in the declared charset. Attachments are named and never opened.
"""

import html
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import EmailPolicy, default
from email.utils import getaddresses, parsedate_to_datetime
from functools import lru_cache
from typing import Any, cast

from ...catalog import text as words
from .charset import SUPERSETS, decode, decode_words, one_line
from .html_text import ParsedPage, parse_page

LIMIT = 2_000_000  # bytes of an email that are looked at
CHARACTERS, HEADER = 20_000, 2000  # of its visible text; of a header
DEPTH, PARTS = 30, 200  # of nested parts; of parts
PAGE = 200_000  # characters of HTML, of all parts
FIRST_PART = re.compile(
    rb'^--([^\n"]{1,70}?)[ \t\r]*\nContent-', re.MULTILINE | re.IGNORECASE
)
# a parameter whose value should be in quotes, as in `name=my bill.exe`
UNQUOTED = re.compile(
    r'\b(boundary|filename|name)=\s*([^\s";][^";]*?)\s*(?=;|$)', re.IGNORECASE
)
# the end of a file's name, in a parameter that `email` does not understand
NAME = re.compile(r'name[*\d]*=([^;=]*\.\w{1,8})["\s]*(?:;|$)', re.IGNORECASE)
META = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
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
    try:
        message = _parsed(content[:LIMIT])
        parts = list(_parts(message))
    except RecursionError as cause:
        raise StructureError(words("mail.nested")) from cause
    except (LookupError, ValueError) as cause:
        raise StructureError(words("mail.no_parts")) from cause
    is_cut = len(content) > LIMIT
    body = _MessageParts(faults=["mail.cut"] if is_cut else [])
    for number, part in enumerate(parts):
        body.add(part, is_read=number < PARTS)
    if not any(_headers(message, "From", "Subject", "Date", "Received")):
        body.faults.append("mail.no_headers")
    if len(parts) > PARTS:
        body.faults.append("mail.parts")
    # of an email that was cut here, the last part is always damaged
    if not is_cut and any(part.defects for part in (message, *parts)):
        body.faults.append("mail.damaged")
    return Mail(
        sender=decode_words(next(iter(_headers(message, "From")), "")),
        subject=decode_words(next(iter(_headers(message, "Subject")), "")),
        date=_date(message),
        text="\n".join(body.texts)[:CHARACTERS],
        people=_people(message),
        html=bool(body.pages),
        links=sum(page.links for page in body.pages),
        images=sum(page.images for page in body.pages),
        attachments=tuple(body.attachments),
        hidden=sum(page.hidden for page in body.pages),
        faults=tuple(dict.fromkeys(body.faults)),
    )


class _Lenient(EmailPolicy):
    """`email.policy.default` for headers that break the rules."""

    def header_source_parse(self, sourcelines: list[str]) -> tuple[str, str]:
        name, value = super().header_source_parse(sourcelines)
        value = one_line(value[:HEADER])
        if name.lower().startswith("content-"):
            value = UNQUOTED.sub(r'\1="\2"', value)
        return name, value

    def header_fetch_parse(self, name: str, value: str) -> Any:
        return _header(name, value)


@lru_cache(maxsize=1024)  # `email` parses a header anew each time that it looks at it
def _header(name: str, value: str) -> Any:
    try:
        return default.header_fetch_parse(name, value)
    except Exception as cause:  # the value is a stranger's, and the parser has bugs
        if value.lower().startswith("multipart/"):  # without a boundary, no parts
            raise ValueError(name) from cause
        return default.header_fetch_parse(name, value.partition(";")[0])


POLICY = _Lenient()


def _parsed(content: bytes) -> EmailMessage:
    return cast(EmailMessage, message_from_bytes(content, policy=POLICY))


@dataclass
class _MessageParts:
    """What is read of the parts of an email, one after the other."""

    texts: list[str] = field(default_factory=list)
    pages: list[ParsedPage] = field(default_factory=list)
    attachments: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    html_left: int = PAGE  # characters

    def add(self, part: EmailMessage, is_read: bool) -> None:
        name, kind = _file_name(part), part.get_content_type()
        if kind not in SHOWN or part.is_attachment() or (name and self.texts):
            ending = _ending(name, kind)
            if "signature" not in kind or ending not in SIGNATURES:
                self.attachments.append(ending)
            return
        text = self._decoded(part) if is_read else ""
        start = text[:200].lstrip().lower()
        if kind == "text/html" or start.startswith(("<html", "<!doctype html")):
            self._add_page(text)
        elif text.strip():
            self.texts.append(html.unescape(text))

    def _add_page(self, text: str) -> None:
        if len(text) > self.html_left:
            self.faults.append("mail.cut")
        page = parse_page(text[: self.html_left])
        self.html_left -= min(self.html_left, len(text))
        self.pages.append(page)
        self.texts.append(page.visible())

    def _decoded(self, part: EmailMessage) -> str:
        """Return the text of a part: in its charset, a superset of it, or UTF-8."""
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):  # no text, although it says so
            return ""
        cut, content = len(content) > 4 * PAGE, content[: 4 * PAGE]
        charset = part.get_content_charset()
        if not charset and (meta := META.search(content[:2000])):
            charset = meta[1].decode().lower()
        superset = SUPERSETS.get(charset or "ascii", charset or "cp1252")
        is_declared = charset not in (None, "", "us-ascii", "ascii")
        charsets = (superset, "utf-8") if is_declared else ("utf-8", superset)
        text = decode(content, charsets, cut)
        if text is not None:
            return text
        if is_declared:
            self.faults.append("mail.encoding")
        try:
            return content.decode(superset, "replace")
        except (LookupError, ValueError):
            return content.decode("cp1252", "replace")


def _parts(message: EmailMessage, depth: int = 0) -> Iterator[EmailMessage]:
    if depth > DEPTH:
        raise RecursionError
    if not message.is_multipart():
        yield from _repaired(message, depth)
        return
    parts = [part for part in message.get_payload() if isinstance(part, EmailMessage)]
    if message.get_content_type() == "multipart/alternative":
        shown = [part for part in parts if _is_shown(part)]
        parts = (shown or parts)[-1:]  # a reader sees the last of them
    for part in parts:
        yield from _parts(part, depth + 1)


def _repaired(message: EmailMessage, depth: int) -> Iterator[EmailMessage]:
    """Yield a part, or its own parts if only the boundary that it declares is wrong."""
    if message.get_content_maintype() != "multipart":
        yield message
        return
    content = message.get_payload(decode=True)
    assert isinstance(content, bytes)
    first = FIRST_PART.search(content)
    kind = b'multipart/mixed; boundary="%b"' % first[1] if first else b"text/plain"
    repaired = _parsed(b"Content-Type: %b\n\n%b" % (kind, content))
    repaired.defects = [*message.defects, *repaired.defects]
    if first and repaired.is_multipart():
        yield from _parts(repaired, depth + 1)
    elif not first:
        yield repaired


def _is_shown(part: EmailMessage) -> bool:
    """Whether a mail program would show something of a part."""
    body = part.get_body(("html", "plain"))
    return body is not None and str(body.get_payload()).strip() != ""


def _headers(message: EmailMessage, *names: str) -> list[str]:
    """Return all headers of these names, as they were sent."""
    wanted = {name.lower() for name in names}
    return [value for name, value in message.raw_items() if name.lower() in wanted]


def _date(message: EmailMessage) -> datetime | None:
    received = [value.rpartition(";")[2] for value in _headers(message, "Received")]
    for value in [*received[:PARTS], *_headers(message, "Date")[:1]]:
        try:
            date = parsedate_to_datetime(value.strip())
        except (TypeError, ValueError, IndexError, OverflowError):
            continue
        if date.tzinfo is None:
            date = date.replace(tzinfo=UTC)
        try:
            return date.astimezone(UTC)
        except OverflowError:
            continue
    return None


def _people(message: EmailMessage) -> tuple[str, ...]:
    # not `message["To"].addresses`, which drops the name in `ann@x.org (Ann Lee)`
    raw = _headers(message, "From", "To", "Cc", "Reply-To")
    try:
        names = [decode_words(name) for name, _ in getaddresses(raw[:PARTS])]
    except (ValueError, IndexError, RecursionError):
        names = []
    return tuple(dict.fromkeys(name for name in names if name))


def _file_name(part: EmailMessage) -> str:
    """Return the name of an attached file, without what could hide its ending."""
    raw = " ".join(_headers(part, "Content-Disposition", "Content-Type"))
    name = part.get_filename() or next(iter(NAME.findall(raw)), "")
    shown = (c for c in name if unicodedata.category(c) not in ("Cf", "Cc"))
    return "".join(shown).strip(" .\xa0")


def _ending(name: str, kind: str) -> str:
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return ending if re.fullmatch(r"\w{1,8}", ending) else kind.partition("/")[0]
