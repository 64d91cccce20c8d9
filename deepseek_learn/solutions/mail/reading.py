"""Read emails: wanted, unwanted or unsure, and why."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ... import zoo
from ...bar import Bar
from ...catalog import text
from ...zoo.nets.mail_reader import TOKENS, MailReader
from ..solution import places
from ..verdicts import Provenance, Verdicts, checksum, sha256
from ..words import deciding_words
from . import train
from .boxes import Item, MailError, find_boxes, read_box
from .drift import REFERENCE, changes
from .mime import Mail
from .report import Mails
from .text import BEGINNING, END, looks_english, marks, whole_text, within

BATCH, SHOWN, FAINT = 32, 300, 0.01  # emails; characters on the page; weight of a word
FEW = 10  # words
DANGEROUS = frozenset({
    "app", "appx", "bat", "chm", "cmd", "com", "cpl", "dll", "docm", "exe", "hta",
    "img", "iso", "jar", "js", "jse", "lnk", "msc", "msi", "pif", "ps1", "reg", "scr",
    "url", "vbe", "vbs", "vhd", "wsf", "wsh", "xlsm",
})  # fmt: skip


class Reader:
    """The zoo's network, compressed, with its tokenizer.

    Raises:
        MissingPackageError: if the package `tokenizers` is not installed.
    """

    def __init__(self) -> None:
        model = zoo.load("mail_reader_dpg")
        assert isinstance(model, MailReader)
        self.model, self.tokenizer = model, zoo.tokenizer("mail_reader")

    def margins(self, texts: Sequence[str]) -> list[list[float]]:
        """Return by how much each email is beyond both borders."""
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
    """Return "unwanted" beyond both borders, "unsure" beyond one, else "wanted"."""
    if min(margins) > 0:
        return "unwanted"
    return "unsure" if max(margins) > 0 else "wanted"


def read_folder(
    folder: str | Path,
    out: str | Path,
    *,
    progress: bool = True,
    words: bool = True,
    reference: int = REFERENCE,
) -> Mails:
    """Read all emails in a mailbox or a folder of mailboxes.

    Args:
        words: whether to look for the deciding words of unwanted and unsure emails, which
            takes most of the time.
        reference: how many emails set the share of unwanted ones; see `drift.changes`.

    Raises:
        FileNotFoundError: if there is no mailbox.
        FileExistsError: if `out` is a file.
        ValueError: if `folder` or `out` is empty, or `reference` is less than 50.
    """
    folder, out = places(folder, out)
    changes([], reference)
    boxes = find_boxes(folder)
    root = folder.parent if folder.is_file() else folder
    if not boxes:
        raise FileNotFoundError(text("mail.no_box", folder=folder))
    reader, names = Reader(), set()
    provenance = Provenance(checksum(reader.model), {"words": words})
    with Verdicts(out / "verdicts.jsonl", provenance) as verdicts:
        with Bar(len(boxes), progress, text("mail.bar")) as bar:
            for path in boxes:
                for batch in _batches(path, str(path.relative_to(root))):
                    new = []
                    for item in batch:
                        names.add(item.name)
                        digest = sha256(item.content)
                        if (item.name, digest) not in verdicts:
                            new.append((item, digest))
                    verdicts.add(*judge(reader, new, words))
                bar.advance(1)
        rows = [row for row in verdicts.latest() if row["name"] in names]
    report = Mails(rows, moved(rows, reference))
    report.save(out)
    return report


def judge(
    reader: Reader, items: Sequence[tuple[Item, str]], words: bool
) -> Iterator[dict[str, Any]]:
    """Yield what a verdict says of each email."""
    mails: list[Mail | MailError] = []
    for item, _ in items:
        try:
            mails.append(item.read())
        except MailError as error:
            mails.append(error)
    texts = [whole_text(mail) for mail in mails if isinstance(mail, Mail)]
    read = [within(each) for each in texts]
    margins, whole = iter(reader.margins(read) if read else []), iter(texts)
    for (item, digest), mail in zip(items, mails, strict=True):
        own: dict[str, Any] = {"name": item.name, "sha256": digest}
        if isinstance(mail, MailError):
            yield own | {"verdict": "refused", "reason": str(mail)}
            continue
        beyond, said = next(margins), next(whole)
        form, doubts = marks(mail), doubtful(said)
        kind = "unsure" if "mail.not_english" in doubts else verdict(beyond)
        reasons = reader.words(within(said), kind) if words and kind != "wanted" else []
        yield own | {
            "verdict": kind,
            "score": round(min(beyond), 2),
            "sender": mail.sender,
            "subject": mail.subject,
            "date": mail.date.isoformat() if mail.date else None,
            "marks": form,
            "words": reasons,
            "text": said.removeprefix(" ".join(form)).strip()[:SHOWN],
            "warnings": [*warnings(mail), *map(text, doubts)],
        }


def doubtful(said: str) -> list[str]:
    """Return why a text is hard to read for this reader, as keys of the messages."""
    doubts = ["mail.middle"] if len(said) > BEGINNING + END else []
    if not looks_english(said):
        return [*doubts, "mail.not_english"]
    return doubts if len(said.split()) >= FEW else [*doubts, "mail.short"]


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


def _batches(path: Path, name: str) -> Iterator[list[Item]]:
    batch: list[Item] = []
    for item in read_box(path, name):
        batch.append(item)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch
