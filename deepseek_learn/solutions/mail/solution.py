"""Read emails: wanted, unwanted or unsure, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from ... import zoo
from ...catalog import text
from ...zoo.nets.mail_reader import TOKENS, MailReader
from ..runner import IndustrySolution, Item, named, solutions
from ..verdicts import checksum, sha256
from ..words import deciding_words
from . import train
from .boxes import find_boxes, read_box
from .drift import REFERENCE, changes
from .mime import Mail
from .report import Mails
from .text import BEGINNING, END, looks_english, marks, whole_text, within

SHOWN, FAINT = 300, 0.01  # characters on the page; weight of a word
FEW = 10  # words
DANGEROUS = frozenset({
    "app", "appx", "bat", "chm", "cmd", "com", "cpl", "dll", "docm", "exe", "hta",
    "img", "iso", "jar", "js", "jse", "lnk", "msc", "msi", "pif", "ps1", "reg", "scr",
    "url", "vbe", "vbs", "vhd", "wsf", "wsh", "xlsm",
})  # fmt: skip


class MailClassifier:
    """The zoo's network, compressed, with its tokenizer.

    Raises:
        MissingPackageError: if the package `tokenizers` is not installed.
    """

    def __init__(self) -> None:
        model = zoo.load("mail_reader_dpg")
        assert isinstance(model, MailReader)
        self.model, self.tokenizer = model, zoo.tokenizer("mail_reader")

    def margins(self, texts: Sequence[str]) -> list[list[float]]:
        """Return by how much each email is beyond both thresholds."""
        return train.margins(self.model, self.tokenizer, texts).tolist()

    def words(self, mail: str, kind: str) -> list[list[Any]]:
        """Return [word, weight] of the words that speak for or against the verdict most.

        Of an unwanted email, these are five words that make it look unwanted; of an unsure
        one, three such and two that make it look wanted. A word's weight is how much the
        sum of both margins falls without it.
        """
        _, words = deciding_words(
            self._sum, self.tokenizer, mail, spaced=True, limit=TOKENS, faint=FAINT
        )
        weights: dict[str, float] = {}  # the largest of each
        for word in sorted(words, key=lambda word: -abs(word.weight)):
            weights.setdefault(word.text.strip(), word.weight)
        for_it = [word for word, weight in weights.items() if weight > 0]
        against = [word for word, weight in weights.items() if weight < 0]
        shown = for_it[:5] if kind == "unwanted" else [*for_it[:3], *against[:2]]
        return [[word, round(weights[word], 2)] for word in shown]

    def _sum(self, tokens: Tensor) -> Tensor:
        total = self.model.margins(tokens).sum(1)
        return torch.stack([-total / 2, total / 2], 1)


def verdict(margins: Sequence[float]) -> str:
    """Return "unwanted" beyond both thresholds, "unsure" beyond one, else "wanted"."""
    if min(margins) > 0:
        return "unwanted"
    return "unsure" if max(margins) > 0 else "wanted"


def doubtful(body: str) -> list[str]:
    """Return why a text is hard to read for this reader, as keys of the messages."""
    doubts = ["mail.middle"] if len(body) > BEGINNING + END else []
    if not looks_english(body):
        return [*doubts, "mail.not_english"]
    return doubts if len(body.split()) >= FEW else [*doubts, "mail.short"]


def warnings(mail: Mail) -> list[str]:
    """Return what is wrong with an email, in words."""
    result = [text(fault) for fault in mail.faults]
    dangerous = [name for name in dict.fromkeys(mail.attachments) if name in DANGEROUS]
    if dangerous:
        result.append(text("mail.dangerous", endings=", ".join(dangerous)))
    return result


def moved(rows: Sequence[dict[str, Any]], reference: int) -> list[dict[str, Any]]:
    """Return the changes of the share of unwanted emails, in the order of their dates."""
    dated = [row for row in rows if row.get("date")]
    dated = sorted(dated, key=lambda row: row["date"])
    unwanted = [row["verdict"] == "unwanted" for row in dated]
    return [
        {
            "start": dated[change.start]["date"],
            "alarm": dated[change.alarm]["date"],
            "before": change.before,
            "after": change.after,
        }
        for change in changes(unwanted, reference)
    ]


@solutions.register("mail")
@dataclass(frozen=True, kw_only=True)
class MailReading(IndustrySolution):
    """Keep the mail clean, with the zoo's network.

    The input is an .mbox or .eml file, a Maildir, or a folder of them.

    Attributes:
        words: whether to look for the deciding words of unwanted and unsure emails, which
            takes most of the time.
        reference: how many emails set the share of unwanted ones; see `drift.changes`.
    """

    words: bool = True
    reference: int = REFERENCE
    name: ClassVar[str] = "mail"
    DISPLAY: ClassVar[frozenset[str]] = frozenset({"reference"})
    BATCH: ClassVar[int] = 32

    def __post_init__(self) -> None:
        changes([], self.reference)  # raises an error if it is too small

    def sources(self, folder: Path, out: Path) -> list[tuple[str, Path]]:
        """Return the mailboxes."""
        boxes = find_boxes(folder)
        if not boxes:
            raise FileNotFoundError(text("mail.no_box", folder=folder))
        return named(boxes, folder)

    def learn(self, folder: Path, progress: bool) -> MailClassifier:
        """Return the zoo's network."""
        return MailClassifier()

    def weights(self, model: MailClassifier) -> str:
        """Return the checksum of the network's weights."""
        return checksum(model.model)

    def items(self, source: tuple[str, Path], model: MailClassifier) -> Iterator[Item]:
        """Yield the emails of a mailbox."""
        name, path = source
        for message in read_box(path, name):
            yield Item(message.name, sha256(message.content), message)

    def read(self, item: Item) -> tuple[Mail, str]:
        """Return an email and its whole text."""
        mail = item.content.read()
        return mail, whole_text(mail)

    def predict(
        self, items: Sequence[Item], model: MailClassifier
    ) -> list[list[float]]:
        """Return by how much each email is beyond both thresholds."""
        return model.margins([within(item.content[1]) for item in items])

    def judge(self, item: Item, model: MailClassifier, out: Path) -> dict[str, Any]:
        """Return the verdict on an email, with the words that decided."""
        mail, whole = item.content
        form, doubts = marks(mail), doubtful(whole)
        kind = "unsure" if "mail.not_english" in doubts else verdict(item.prediction)
        explained = self.words and kind != "wanted"
        return {
            "verdict": kind,
            "warnings": [*warnings(mail), *map(text, doubts)],
            "score": round(min(item.prediction), 2),
            "sender": mail.sender,
            "subject": mail.subject,
            "date": mail.date.isoformat() if mail.date else None,
            "marks": form,
            "words": model.words(within(whole), kind) if explained else [],
            "text": whole.removeprefix(" ".join(form)).strip()[:SHOWN],
        }

    def report(self, verdicts: list[dict[str, Any]], model: MailClassifier) -> Mails:
        """Return the report, with the changes of the share of unwanted emails."""
        return Mails(verdicts, moved(verdicts, self.reference))
