"""Read reviews from text and CSV files."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..tables import read_table
from ..verdicts import RefusedError
from .corpus import mask

ENDINGS = (".csv", ".txt")
COLUMNS = ("text", "review", "comment", "content", "评论", "点评", "内容", "评价")
BEGINNING, END = 3000, 1000  # characters that are looked at of a very long review
UNUSED = frozenset(["Cn", "Co"])  # categories of characters
LEAST = 2  # letters or digits of a review
CHINESE = 0.3  # the part that must be Chinese, of its characters and foreign words
CHARACTERS, WORDS = re.compile(r"[\u3400-\u9fff]"), re.compile(r"[^\W\d_]+")


class ReviewError(RefusedError):
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
    whose name is in `COLUMNS` or given, or just one column. E-mail addresses, web
    addresses and long numbers become `#`.

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
    frame = read_table(path, ReviewError, _text(path), numbers=False)
    names = [str(each) for each in frame.columns]
    wanted = COLUMNS if column is None else (column.strip().lower(),)
    matching = [own for each in wanted for own in names if _is_named(own, each)]
    if column is None and not matching and len(names) == 1:  # it has no header
        frame.loc[-1], matching = names[0], names
        frame = frame.sort_index()
    if not matching:
        what = f"a column {column!r}" if column is not None else "a column of reviews"
        raise ReviewError(
            f"{path.name} must have {what} ({', '.join(wanted)}); it has "
            f"{', '.join(map(repr, names))}. Name it with --column."
        )
    if len(matching) > 1:
        raise ReviewError(
            f"{path.name} has several columns that may hold the reviews: "
            f"{', '.join(map(repr, matching))}. Name one with --column."
        )
    chosen = matching[0]
    for number, value in zip(frame.index, frame[chosen], strict=True):
        if isinstance(value, str) and value.strip():
            yield _review(f"{name}:{number + 2}", value.strip())


def _is_named(own: str, wanted: str) -> bool:
    """Whether a column has a name; a second one of it ends in .1 when it is read."""
    first, _, number = own.strip().lower().rpartition(".")
    return own.strip().lower() == wanted or (number.isdigit() and first == wanted)


def _review(name: str, text: str) -> Review:
    text = mask(text)
    if len(text) <= BEGINNING + END:
        return Review(name, text)
    return Review(name, text[:BEGINNING] + text[-END:], long=True)


def _text(path: Path) -> str:
    """Return a file's text: UTF-8, UTF-16 with a mark, or GB 18030.

    Raises:
        ReviewError: if it is none of these.
    """
    try:
        content = path.read_bytes()
    except OSError as cause:
        raise ReviewError(f"{path.name} cannot be read: {cause.strerror}.") from cause
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ["utf-16"]
    else:
        encodings = ["utf-8-sig", "gb18030"]
    for encoding in encodings:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        # a text in another encoding becomes characters that nobody uses
        strange = (
            encoding == "gb18030" and {*map(unicodedata.category, {*text})} & UNUSED
        )
        if "\0" not in text and not strange:
            return text.replace("\r\n", "\n").replace("\r", "\n")
    raise ReviewError(
        f"{path.name} is not text in UTF-8, UTF-16 or GB 18030; is it compressed?"
    )
