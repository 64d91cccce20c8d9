"""What a reader sees of an e-mail: subject, visible text, and marks of its form.

`read_mail` takes the bytes of a mail (RFC 5322, MIME) and never fails on malformed ones:
headers may be cut, encodings wrong and parts missing. Attachments are named and never
opened. `plain_text` is what our models read. It leaves out everything that tells who wrote
to whom: headers, addresses, web addresses, long numbers, signatures and the lines that
mailing lists add.
"""

import html
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.header import decode_header
from email.message import Message
from email.utils import getaddresses, parsedate_to_datetime
from html.parser import HTMLParser

LIMIT = 2_000_000  # bytes of a mail that are looked at
CHARACTERS, HEADER = 20_000, 2000  # of its visible text; of a header
BEGINNING, END = 1800, 600  # characters that the models read of a long mail
DEPTH, PARTS = 12, 200  # of nested parts; of parts
MAIL, LINK, NUMBER = "[mail]", "[link]", "[number]"
ADDRESS = re.compile(r"[\w.+=-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
WEB = re.compile(r"(?:https?://|ftp://|www\.)[^\s<>\"')\]]+", re.IGNORECASE)
DIGITS = re.compile(r"\(?\d(?:[-. ()]{0,2}\d){5,}")
TAG = re.compile(r"\[[^\]]{2,30}\]")  # "[ILUG]" in a subject
RULE = re.compile(r"^[\W_]{5,}$")
LIST_LINES = re.compile(
    r"mailing list|listinfo|unsubscribe from this group|yahoo! groups|sponsored by"
    r"|list admin|to subscribe or unsubscribe|maintainer",
    re.IGNORECASE,
)
QUOTED = re.compile(r"^([>\s|]*).*\b(?:wrote|writes|said):\s*$")  # who is quoted
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
INVISIBLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden|font-size\s*:\s*0")
LOOK_ALIKES = str.maketrans(
    "аеорсухіјѕԁһӏԛԝкмтвнзαοερκντυιχγωΑΒΕΖΗΙΚΜΝΟΡΤΥΧАВЕКМНОРСТХ",
    "aeopcyxijsdhlqwkmtbh3aoepkvtuixywABEZHIKMNOPTYXABEKMHOPCTX",
)
LATIN = re.compile(r"[A-Za-z]")
SEPARATED = re.compile(
    r"(?<![A-Za-z.])[A-Za-z]([-._*])(?:[A-Za-z]\1){2,}[A-Za-z](?!\w)"
)
MIXED = re.compile(r"[A-Za-z0134579@$!|]{4,}")
INSIDE = re.compile(r"(?<=[A-Za-z])[0134579@$!|]{1,2}(?=[A-Za-z])")
SIGNS = str.maketrans("0134579@$!|", "oieastgasil")


class NestingError(ValueError):
    """A mail whose parts are nested too deeply."""


@dataclass(frozen=True)
class Mail:
    """A mail as its reader sees it.

    Attributes:
        sender, subject: decoded.
        date: when the first server received it, else the date that it claims; UTC.
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
    """Read a mail; only its first two megabytes are looked at.

    Raises:
        NestingError: if its parts are nested more deeply than a person's mail.
    """
    faults = ["mail.cut"] if len(content) > LIMIT else []
    try:
        message = message_from_bytes(content[:LIMIT], policy=policy.compat32)
        parts = list(_parts(message))
    except RecursionError as cause:
        raise NestingError("the parts of the mail are nested too deeply") from cause
    page = _Page()
    texts, kinds, attachments = [], set(), []
    for part in parts[:PARTS]:
        name, kind = _file_name(part), part.get_content_type()
        if name or not kind.startswith("text/"):
            if "signature" not in kind and not part.is_multipart():
                attachments.append(_ending(name, kind))
            continue
        text = _decoded(part, faults)
        kinds.add(kind)
        if kind == "text/html" or "<html" in text[:500].lower():
            page = _Page()
            page.feed(text[: 10 * CHARACTERS])
            kinds.add("text/html")
            texts.append(page.visible())
        elif text.strip():
            texts.append(text)
    if not any(message.get(name) for name in ("From", "Subject", "Date", "Received")):
        faults.append("mail.no_headers")
    if message.defects or any(part.defects for part in parts):
        faults.append("mail.damaged")
    whole = "\n".join(texts)[:CHARACTERS]
    return Mail(
        sender=_header(message, "From"),
        subject=_header(message, "Subject"),
        date=_date(message),
        text=whole,
        people=_people(message),
        html="text/html" in kinds,
        links=len(page.links),
        images=page.images,
        attachments=tuple(attachments),
        hidden=page.hidden,
        faults=tuple(dict.fromkeys(faults)),
    )


def plain_text(mail: Mail) -> str:
    """Return what the models read: marks of its form, the subject and the text.

    Of a long mail, they read the beginning and the end.
    """
    lines, before_signature = [], True
    for line in html.unescape(mail.text).split("\n"):
        if line.rstrip("\r") in ("-- ", "--"):
            before_signature = False
        if line.startswith((">", "On ")):
            before_signature = True
        stripped = line.strip()
        if (
            before_signature
            and not LIST_LINES.search(line)
            and not RULE.match(stripped)
        ):
            lines.append(QUOTED.sub(r"\1someone wrote:", stripped))
    subject = TAG.sub(" ", mail.subject)
    text = masked(f"{subject}\n{chr(10).join(lines)}")
    words = " ".join([*marks(mail), *plain(text).split()])
    if len(words) <= BEGINNING + END:
        return words
    return f"{words[:BEGINNING]} {words[-END:]}"


def marks(mail: Mail) -> list[str]:
    """Return words that describe the form of a mail, as in `links:many`."""
    found = ["html"] if mail.html else []
    for name in ("links", "images"):
        count = getattr(mail, name)
        if count:
            found.append(f"{name}:{'many' if count > 5 else 'few'}")
    found += [f"attached:{ending}" for ending in dict.fromkeys(mail.attachments)]
    if mail.hidden > 40:
        found.append("hidden")
    letters = [c for c in f"{mail.subject} {mail.text}"[:3000] if c.isalpha()]
    if len(letters) > 20 and sum(c.isupper() for c in letters) > 0.3 * len(letters):
        found.append("capitals")
    if letters and sum(not c.isascii() for c in letters) > 0.3 * len(letters):
        found.append("foreign")
    return found


def masked(text: str) -> str:
    """Replace addresses, web addresses and numbers of six digits or more."""
    text = ADDRESS.sub(MAIL, WEB.sub(LINK, text))
    return DIGITS.sub(NUMBER, text)


def plain(text: str) -> str:
    """Undo disguises of words.

    Invisible characters are dropped, and Cyrillic and Greek letters that look like Latin
    ones replaced in a text whose letters are mostly Latin. A sign between all letters is
    dropped ("f.r.e.e"), and a digit or a sign inside a word becomes the letter that it
    resembles ("v1agra"), if the word has at least four letters.
    """
    text = unicodedata.normalize("NFKC", text)
    text = "".join(c for c in text if c.isspace() or c.isprintable())
    if not text.isascii():
        letters = sum(c.isalpha() for c in text)
        if 2 * len(LATIN.findall(text)) > letters:
            text = text.translate(LOOK_ALIKES)
    text = SEPARATED.sub(lambda match: match[0].replace(match[1], ""), text)
    return MIXED.sub(_letters, text)


def _letters(match: re.Match) -> str:
    if sum(c.isalpha() for c in match[0]) < 4:
        return match[0]
    return INSIDE.sub(lambda inside: inside[0].translate(SIGNS), match[0])


class _Page(HTMLParser):
    """The visible text of an HTML page, its links and its images."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self.links: list[str] = []
        self.images = self.hidden = 0
        self.unseen: list[str] = []  # the open elements inside an invisible one

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        own = {name: value or "" for name, value in attrs}
        if tag == "a" and own.get("href"):
            self.links.append(own["href"])
        self.images += tag == "img"
        if tag in BLOCKS:
            self.pieces.append("\n")
        hides = tag in UNSEEN or INVISIBLE.search(own.get("style", "").lower())
        if tag not in EMPTY and (hides or self.unseen):
            if tag == "body":
                self.unseen.clear()
            else:
                self.unseen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.pieces.append("\n")
        if tag in self.unseen:
            while self.unseen.pop() != tag:
                pass

    def handle_data(self, data: str) -> None:
        if self.unseen:
            if "head" not in self.unseen and self.unseen[-1] not in UNSEEN:
                self.hidden += sum(c.isalpha() for c in data)
        else:
            self.pieces.append(data)

    def visible(self) -> str:
        lines = (" ".join(line.split()) for line in "".join(self.pieces).split("\n"))
        return "\n".join(line for line in lines if line)


def _parts(message: Message, depth: int = 0) -> Iterator[Message]:
    if depth > DEPTH:
        raise RecursionError
    if not message.is_multipart():
        yield message
        return
    parts = [part for part in message.get_payload() if isinstance(part, Message)]
    if message.get_content_type() == "multipart/alternative":
        parts = parts[-1:]  # a reader sees the last of them
    for part in parts:
        yield from _parts(part, depth + 1)


def _decoded(part: Message, faults: list[str]) -> str:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):  # no text, although it says so
        return ""
    content, encoding = content[: 20 * CHARACTERS], part.get_content_charset()
    text = _text(content, (encoding, "utf-8"))
    if text is not None:
        return text
    if encoding not in (None, "us-ascii"):
        faults.append("mail.encoding")
    return content.decode("latin-1")


def _header(message: Message, name: str) -> str:
    value = str(message.get(name, ""))[:HEADER]
    pieces = []
    try:
        for piece, encoding in decode_header(value):
            if isinstance(piece, bytes):
                piece = _text(piece, (encoding, "utf-8")) or piece.decode("latin-1")
            pieces.append(piece)
    except ValueError:  # a header that only claims to be encoded
        pieces = [value]
    return " ".join("".join(pieces).split())


def _text(content: bytes, encodings: Sequence[str | None]) -> str | None:
    """Decode with the first encoding that fits; None if none does."""
    for encoding in encodings:
        try:
            return content.decode(encoding or "ascii")
        except (LookupError, ValueError):
            continue
    return None


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
    headers = [_header(message, name) for name in ("From", "To", "Cc", "Reply-To")]
    try:
        names = [name for name, _ in getaddresses(headers)]
    except (ValueError, IndexError, RecursionError):
        names = []
    return tuple(dict.fromkeys(name for name in names if name))


def _file_name(part: Message) -> str:
    try:
        return part.get_filename() or ""
    except (LookupError, ValueError, TypeError):
        return "?"


def _ending(name: str, kind: str) -> str:
    ending = name.rpartition(".")[2].lower() if "." in name else ""
    return ending if re.fullmatch(r"\w{1,8}", ending) else kind.partition("/")[0]
