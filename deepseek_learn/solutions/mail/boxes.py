"""Read emails from mailboxes: .mbox and .eml files, and Maildir folders."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...catalog import text
from ..verdicts import RefusedError
from .mime import LIMIT, Mail, StructureError, read_mail

MAILDIR = ("cur", "new")
ENDINGS = (".eml", ".emlx", ".mbox", ".mbx", ".msg", "")
INDEXES = re.compile(
    r"dovecot|courier|subscriptions$|maildirfolder$"
)  # of mail servers
OUTLOOK = b"\xd0\xcf\x11\xe0"  # the first bytes of Outlook's .msg
# the first bytes of gzip, zip, bzip2, xz, 7z and zstd
PACKED = (b"\x1f\x8b", b"PK\x03\x04", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"(\xb5/\xfd")
DAY = rb"Mon|Tue|Wed|Thu|Fri|Sat|Sun"
MONTH = rb"Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec"
# the line between emails in an .mbox file, as most programs write it
FROM_LINE = re.compile(
    rb"From .*\b(?:%s),? +(?:\d+ +)?(?:%s)\w* +\d.*\d\d:\d\d" % (DAY, MONTH)
)
# another date also makes one if an empty line precedes it and a header follows
MAYBE_FROM_LINE = re.compile(rb"From \S+ .*(?:\d\d:\d\d|\d{4})")
HEADER = re.compile(rb">?[!-9;-~]+:|>?From ")
QUOTED = re.compile(rb">+From ")
LINE = 1 << 20  # bytes of a line that are read at once


class MailError(RefusedError):
    """Something that cannot be read as an email; the message says why."""


@dataclass(frozen=True)
class Message:
    """An email in a mailbox.

    Attributes:
        name: the file, and in an .mbox file the mail's number, as in `inbox.mbox:12`.
        content: its first two megabytes.
        error: why it could not be read from the disk, or None.
    """

    name: str
    content: bytes
    error: str | None = None

    def read(self) -> Mail:
        """Read the email.

        Raises:
            MailError: if it is none.
        """
        name = self.name
        if self.error:
            raise MailError(text("mail.not_opened", name=name, reason=self.error))
        if not self.content.strip():
            raise MailError(text("mail.empty", name=name))
        if self.content.startswith(OUTLOOK):
            raise MailError(text("mail.outlook", name=name))
        if self.content.startswith(PACKED):
            raise MailError(text("mail.packed", name=name))
        try:
            mail = read_mail(self.content)
        except StructureError as error:
            reason = str(error)
            raise MailError(text("mail.not_read", name=name, reason=reason)) from error
        except Exception as error:  # a stranger wrote it: it must not end the run
            reason = type(error).__name__
            raise MailError(text("mail.not_read", name=name, reason=reason)) from error
        if "mail.no_headers" in mail.faults:
            raise MailError(text("mail.no_mail", name=name))
        return mail


def find_boxes(folder: Path) -> list[Path]:
    """Return the files with emails: `folder` itself, or those in it, in their order.

    Files are taken that end in .eml, .emlx, .mbox, .mbx or .msg, have no ending, begin as
    an .mbox file does, or are in the folders `cur` and `new` of a Maildir.
    """
    if folder.is_file():
        return [folder]
    return [
        path
        for path in sorted(folder.glob("**/*"))
        if path.is_file() and _is_box(path, path.relative_to(folder).parts)
    ]


def _is_box(path: Path, parts: tuple[str, ...]) -> bool:
    if path.parent.name in MAILDIR:
        return not path.name.startswith(".")
    if any(part.startswith(".") for part in parts) or INDEXES.match(path.name):
        return False
    if path.parent.name == "tmp" and (path.parent.parent / "cur").is_dir():
        return False  # emails that are being written
    return path.suffix.lower() in ENDINGS or _starts(path, b"From ")


def _starts(path: Path, first: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(first)) == first
    except OSError:
        return False


def read_box(path: Path, name: str) -> Iterator[Message]:
    """Yield the emails of a file, each without what follows its first two megabytes.

    A file that cannot be opened gives one item with an error.
    """
    try:
        with path.open("rb") as file:
            start = file.read(LIMIT + 1).removeprefix(b"\xef\xbb\xbf").lstrip()
            if not start.startswith(b"From "):
                if path.suffix.lower() == ".emlx":  # its first line is a number
                    start = start.partition(b"\n")[2]
                yield Message(name, start)
                return
            file.seek(0)
            yield from _mails(file, name)
    except OSError as error:
        yield Message(name, b"", error.strerror or type(error).__name__)


def _mails(lines: BinaryIO, name: str) -> Iterator[Message]:
    """Yield the emails of an .mbox file, line by line.

    Its first line, which begins with "From ", is a From line whatever else it says.
    """
    number, content, blank = 0, bytearray(), False
    line = lines.readline(LINE).removeprefix(b"\xef\xbb\xbf")
    while line:
        following = lines.readline(LINE)
        first = number == 0 and line.strip() != b""
        if first or _is_from_line(line, blank, following):
            if number:
                yield Message(f"{name}:{number}", bytes(content))
            number, content = number + 1, bytearray()
        elif number and len(content) <= LIMIT:
            own = line[1:] if QUOTED.match(line) else line
            content += own[: LIMIT + 1 - len(content)]
        blank, line = line.strip() == b"", following
    if number:
        yield Message(f"{name}:{number}", bytes(content))


def _is_from_line(line: bytes, blank: bool, following: bytes) -> bool:
    if not line.startswith(b"From "):
        return False
    if FROM_LINE.match(line):
        return True
    return bool(blank and MAYBE_FROM_LINE.match(line) and HEADER.match(following))
