"""Keep the mail clean: a mailbox in, verdicts and reasons out.

`solutions.load("mail").run(box, out)` reads .mbox and .eml files and Maildir folders.
Lesson: `notebooks/practical/13_keep_the_mail_clean.ipynb`.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..solution import solutions

if TYPE_CHECKING:
    from .report import Mails


@solutions.register("mail")
class MailReading:
    """Keep the mail clean."""

    def run(
        self,
        input: str | Path,
        out: str | Path,
        *,
        progress: bool = True,
        **options: Any,
    ) -> "Mails":
        """Read all emails in a mailbox with the zoo's network.

        Args:
            input: an .mbox or .eml file, a Maildir, or a folder of them.
            out: the folder for the verdicts and the page. An interrupted run continues
                where it stopped.
            options: passed to `reading.read_folder`: `words` and `reference`.

        Raises:
            FileNotFoundError, ValueError, FileExistsError: see `reading.read_folder`.
        """
        from .reading import read_folder

        return read_folder(input, out, progress=progress, **options)
