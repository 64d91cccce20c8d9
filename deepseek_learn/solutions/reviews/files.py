"""Read reviews from text and CSV files."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..tables import read_table

ENDINGS = (".csv", ".txt")
COLUMNS = ("text", "review", "comment", "content", "评论", "点评", "内容", "评价")
BEGINNING, END = 3000, 1000  # characters that are looked at of a very long review
LEAST = 2  # letters or digits of a review
CHINESE = 0.3  # the part that must be Chinese, of its characters and foreign words
CHARACTERS, WORDS = re.compile(r"[\u3400-\u9fff]"), re.compile(r"[^\W\d_]+")


class ReviewError(ValueError):
    """A file that cannot be read as reviews; the message says why."""


@dataclass(frozen=True)
class Review:
    """A review in a file.

    Attributes:
        name: the file and the line or row, as in `hotel.txt:12`.
        text: without the middle of a very long review.
        long: whether the middle is missing.
    """

    name: str
    text: str
    long: bool = False

    @property
    def refusal(self) -> str | None:
        """Why it cannot be read, as a key of the messages, or None."""
        normal = unicodedata.normalize("NFKC", self.text)
        if sum(c.isalnum() for c in normal) < LEAST:
            return "reviews.too_short"
        words = CHARACTERS.sub(" ", normal)
        foreign, own = len(WORDS.findall(words)), len(CHARACTERS.findall(normal))
        if own == 0 or own < CHINESE * (own + foreign):
            return "reviews.not_chinese"
        return None


def read_reviews(path: Path, name: str, column: str | None = None) -> Iterator[Review]:
    """Yield the reviews in a file.

    Text has one review per line; empty lines are skipped. CSV has a column of reviews,
    whose name is in `COLUMNS` or given.

    Raises:
        ReviewError: if the file cannot be read.
    """
    if path.suffix.lower() == ".csv":
        yield from _from_table(path, name, column)
        return
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield _review(f"{name}:{number}", line.strip())


def _from_table(path: Path, name: str, column: str | None) -> Iterator[Review]:
    frame = _table(path)
    own = {str(each).strip().lower(): str(each) for each in frame.columns}
    wanted = COLUMNS if column is None else (column.strip().lower(),)
    chosen = next((own[each] for each in wanted if each in own), None)
    if chosen is None:
        if column is None and len(own) == 1:
            chosen = str(frame.columns[0])
        else:
            what = f"a column {column!r}" if column else "a column of reviews"
            raise ReviewError(
                f"{path.name} must have {what} ({', '.join(wanted)}); it has "
                f"{', '.join(map(repr, own.values()))}. Name it with column=."
            )
    for number, value in enumerate(frame[chosen], 2):
        if isinstance(value, str) and value.strip():
            yield _review(f"{name}:{number}", value.strip())


def _table(path: Path) -> pd.DataFrame:
    """Read a CSV file in UTF-8, or in another encoding of Chinese."""
    try:
        path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        text = io.StringIO(_text(path))
        try:
            rows = list(csv.reader(text))
        except csv.Error as cause:
            raise ReviewError(
                f"{path.name} is not a readable CSV file: {cause}"
            ) from cause
        width = len(rows[0])
        return pd.DataFrame(
            [row[:width] + [""] * (width - len(row)) for row in rows[1:]],
            columns=rows[0],
        )
    return read_table(path, ReviewError)


def _review(name: str, text: str) -> Review:
    if len(text) <= BEGINNING + END:
        return Review(name, text)
    return Review(name, text[:BEGINNING] + text[-END:], long=True)


def _text(path: Path) -> str:
    """Return a file's text: UTF-8, UTF-16 with a mark, or GB 18030.

    Raises:
        ReviewError: if it is none of these.
    """
    content = path.read_bytes()
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ReviewError(
        f"{path.name} is not text in UTF-8, UTF-16 or GB 18030; is it compressed?"
    )
