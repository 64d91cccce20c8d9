"""English verse: the poetic books of the King James Bible, one passage per line.

The file `files/english_verses.txt.xz` holds passages of up to four verses, each preceded
by its chapter's number and a tab. It was made, and can be reproduced, from the text in
Debian's package bible-kjv-text 4.39 (its copyright has expired; SHA-256 of the package
5b5acbab20b8ea6927a6bcfd9718cad7c1ae8530c393e6319e2179cc25a84fbb) with

    apt-get install bible-kjv
    echo 'Gen1:1-Rev22:21' | bible -f > kjv.txt
    python -c "from deepseek_learn.data.english_verses import make; \
        make('kjv.txt', 'english_verses.txt.xz')"

Rule: take the books of Job, Psalms, Proverbs, Ecclesiastes, Song of Solomon, Isaiah and
Lamentations, chapter by chapter; drop each verse that has occurred before; form a
passage from every four of a chapter's remaining verses. When all chapters are numbered
consecutively, 19, 39, 59, ... are validation, 20, 40, 60, ... are test, and the rest
are train.
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
    """Load the three parts: uint8 `[N]` of ASCII text, with one passage per line."""
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
    """Regenerate the passages: write `target`, xz, from the text of the whole Bible."""
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
