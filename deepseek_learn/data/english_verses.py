"""English verse from the poetic books of the King James Bible, one passage per line.

The file `files/english_verses.txt.xz` contains passages of up to four verses. Each
passage is preceded by the number of its chapter and a tab. The file was created from
the text in the Debian package bible-kjv-text 4.39 (copyright expired; SHA-256 of the
package 5b5acbab20b8ea6927a6bcfd9718cad7c1ae8530c393e6319e2179cc25a84fbb). These
commands reproduce it:

    apt-get install bible-kjv
    echo 'Gen1:1-Rev22:21' | bible -f > kjv.txt
    python -c "from deepseek_learn.data.english_verses import make; \
        make('kjv.txt', 'english_verses.txt.xz')"

The books of Job, Psalms, Proverbs, Ecclesiastes, Song of Solomon, Isaiah and
Lamentations are processed chapter by chapter. A verse that has already occurred is
dropped, and the remaining verses of a chapter are grouped into passages of four. With
all chapters numbered consecutively from 1, chapters 19, 39, 59, ... are used for
validation, chapters 20, 40, 60, ... for testing, and the rest for training.
"""

import lzma
import re
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from ..catalog import spoken
from ..files import atomic_write
from .card import read_card
from .splits import datasets
from .text import TextSplits, text_splits

BOOKS = ("Job", "Psa", "Prv", "Eccl", "SSol", "Isa", "Lam")
PASSAGE = 4  # verses
LINE = re.compile(r"(\d?[A-Z][A-Za-z]*)(\d+):(\d+) (.+)")

CARD = read_card("english_verses")


@datasets.register("english_verses")
def english_verses() -> TextSplits:
    """Load the training, validation and test texts, with one passage per line.

    Each text is a uint8 tensor of shape `[N]` that contains ASCII characters.

    >>> from deepseek_learn import data
    >>> bytes(data.english_verses().train[:20].tolist()).decode()
    'There was a man in t'
    """
    path = files("deepseek_learn.data") / "files" / "english_verses.txt.xz"
    lines = lzma.decompress(path.read_bytes()).splitlines(keepends=True)
    chapters, passages = zip(*(line.split(b"\t", 1) for line in lines), strict=True)
    return text_splits(list(passages), map(int, chapters), spoken(CARD))


def verses(path: str | Path) -> Iterator[tuple[str, int, str]]:
    """Yield the book, chapter and text of each verse in the output of `bible -f`."""
    for line in Path(path).read_text(encoding="ascii").splitlines():
        if match := LINE.fullmatch(line):
            yield match[1], int(match[2]), match[4].strip()


def make(source: str | Path, target: str | Path) -> None:
    """Regenerate the file `target` from a file with the full text of the Bible."""
    chapters: dict[tuple[str, int], list[str]] = {}
    seen: set[str] = set()
    for book, chapter, verse in verses(source):
        if book in BOOKS and verse not in seen:
            seen.add(verse)
            chapters.setdefault((book, chapter), []).append(verse)
    lines = [
        f"{number}\t{' '.join(chapter[i : i + PASSAGE])}\n"
        for number, chapter in enumerate(chapters.values())
        for i in range(0, len(chapter), PASSAGE)
    ]
    with atomic_write(target) as temporary:
        content = "".join(lines).encode("ascii")
        temporary.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
