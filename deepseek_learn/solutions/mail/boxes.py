"""Read mails from mailboxes: .mbox and .eml files, and Maildir folders."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ...data.mime import LIMIT, Mail, StructureError, read_mail

MAILDIR = ("cur", "new")
ENDINGS = (".eml", ".emlx", ".mbox", ".mbx", ".msg", "")
INDEXES = re.compile(
    r"dovecot|courier|subscriptions$|maildirfolder$"
)  # of mail servers
OUTLOOK = b"\xd0\xcf\x11\xe0"  # the first bytes of Outlook's .msg
BORDER = re.compile(rb"From \S.*\d\d:\d\d.*\d{4}\s*$")  # between mails in an .mbox file
QUOTED = re.compile(rb">+From ")
LINE = 1 << 20  # bytes of a line that are read at once


class MailError(ValueError):
    """Something that cannot be read as a mail; the message says why."""


@dataclass(frozen=True)
class Item:
    """A mail in a mailbox.

    Attributes:
        name: the file, and in an .mbox file the mail's number, as in `inbox.mbox:12`.
        content: its first two megabytes.
        error: why it could not be read from the disk, or None.
    """

    name: str
    content: bytes
    error: str | None = None

    def read(self) -> Mail:
        """Read the mail.

        Raises:
            MailError: if it is none.
        """
        if self.error:
            raise MailError(f"{self.name} cannot be read: {self.error}.")
        if not self.content.strip():
            raise MailError(f"{self.name} is empty.")
        if self.content.startswith(OUTLOOK):
            raise MailError(
                f"{self.name} is in Outlook's own format; save it as .eml instead."
            )
        try:
            mail = read_mail(self.content)
        except StructureError as error:
            raise MailError(f"{self.name} cannot be read: {error}") from error
        except Exception as error:  # a stranger wrote it: it must not end the run
            kind = type(error).__name__
            raise MailError(f"{self.name} cannot be read ({kind}).") from error
        if "mail.no_headers" in mail.faults:
            raise MailError(
                f"{self.name} is not an e-mail: it has no line From, Subject or Date."
            )
        return mail


def find_boxes(folder: Path) -> list[Path]:
    """Return the files with mails: `folder` itself, or those in it, in their order.

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
        return False  # mails that are being written
    return path.suffix.lower() in ENDINGS or _starts(path, b"From ")


def _starts(path: Path, first: bytes) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(first)) == first
    except OSError:
        return False


def read_box(path: Path, name: str) -> Iterator[Item]:
    """Yield the mails of a file, each without what follows its first two megabytes.

    A file that cannot be opened gives one item with an error.
    """
    try:
        with path.open("rb") as file:
            start = file.read(LIMIT + 1).removeprefix(b"\xef\xbb\xbf").lstrip()
            if not start.startswith(b"From "):
                if path.suffix.lower() == ".emlx":  # its first line is a number
                    start = start.partition(b"\n")[2]
                yield Item(name, start)
                return
            file.seek(0)
            yield from _mails(file, name)
    except OSError as error:
        yield Item(name, b"", error.strerror or type(error).__name__)


def _mails(lines: BinaryIO, name: str) -> Iterator[Item]:
    """Yield the mails of an .mbox file, line by line."""
    number, content = 0, bytearray()
    while line := lines.readline(LINE):
        if BORDER.match(line.removeprefix(b"\xef\xbb\xbf")):
            if number:
                yield Item(f"{name}:{number}", bytes(content))
            number, content = number + 1, bytearray()
        elif number and len(content) <= LIMIT:
            own = line[1:] if QUOTED.match(line) else line
            content += own[: LIMIT + 1 - len(content)]
    if number:
        yield Item(f"{name}:{number}", bytes(content))
