"""Read mails from mailboxes: .mbox and .eml files, and Maildir folders."""

import mailbox
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...data.mail_text import LIMIT, Mail, NestingError, read_mail

MAILDIR = ("cur", "new")
ENDINGS = (".eml", ".mbox", ".mbx")
OUTLOOK = b"\xd0\xcf\x11\xe0"  # the first bytes of Outlook's .msg


class MailError(ValueError):
    """Something that cannot be read as a mail; the message says why."""


@dataclass(frozen=True)
class Item:
    """A mail in a mailbox.

    Attributes:
        name: the file, and in an .mbox file the mail's number, as in `inbox.mbox:12`.
        content: its first two megabytes.
    """

    name: str
    content: bytes

    def read(self) -> Mail:
        """Read the mail.

        Raises:
            MailError: if it is none.
        """
        if not self.content.strip():
            raise MailError(f"{self.name} is empty.")
        if self.content.startswith(OUTLOOK):
            raise MailError(
                f"{self.name} is in Outlook's own format; save it as .eml instead."
            )
        try:
            mail = read_mail(self.content)
        except NestingError as error:
            raise MailError(f"{self.name}: {error}; a mail bomb?") from error
        if "mail.no_headers" in mail.faults:
            raise MailError(
                f"{self.name} is not an e-mail: it has no line From, Subject or Date."
            )
        return mail


def find_boxes(folder: Path) -> list[Path]:
    """Return the files with mails: `folder` itself, or those in it, in their order.

    Files are taken that end in .eml, .mbox or .mbx, have no ending, or are in the folders
    `cur` and `new` of a Maildir.
    """
    if folder.is_file():
        return [folder]
    return [
        path
        for path in sorted(folder.glob("**/*"))
        if path.is_file()
        and not path.name.startswith(".")
        and (
            path.parent.name in MAILDIR
            or path.suffix.lower() in ENDINGS
            or not path.suffix
        )
    ]


def read_box(path: Path, name: str) -> Iterator[Item]:
    """Yield the mails of a file, each without what follows its first two megabytes."""
    with path.open("rb") as file:
        content = file.read(LIMIT + 1)
    if not content.startswith(b"From "):
        yield Item(name, content)
        return
    box = mailbox.mbox(path, create=False)
    try:
        for number, key in enumerate(box.iterkeys(), 1):
            with box.get_file(key) as mail:
                yield Item(f"{name}:{number}", mail.read(LIMIT + 1))
    finally:
        box.close()
