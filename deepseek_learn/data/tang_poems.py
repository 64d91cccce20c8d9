"""Tang poems: classical Chinese verse as UTF-8 bytes (a bundled subset).

The file `files/tang_poems.txt.xz` holds one poem per line, its paragraphs joined, without
title or author. It was made, and can be reproduced, from the npm package
chinese-poetry 2.0.1 (MIT; SHA-256 of the archive
25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86) with

    npm pack chinese-poetry@2.0.1 && tar xzf chinese-poetry-2.0.1.tgz
    python -c "from deepseek_learn.data.tang_poems import make; \
        make('package/dist/quantangshi', 'tang_poems.txt.xz')"

Rule: read the files poet.tang.N.json in the order of N; select the poems that consist of
whole clauses of Chinese characters ending in ，。？！ (no gaps, notes or quotation
marks); drop each poem that shares a verse (text ending in 。？！) with one selected
earlier; take every third of the rest. Lines 19, 39, 59, ... of the file are validation,
lines 20, 40, 60, ... are test, and the rest are train.
"""

import json
import lzma
import re
from importlib.resources import files
from pathlib import Path

from ..catalog import spoken
from ..files import atomic_write
from .card import read_card
from .splits import datasets
from .text import TextSplits, text_splits

EVERY = 3  # one in this many selected poems is in the file
CLEAN = re.compile(r"(?:[\u3400-\u9fff]+[，。？！])+")
VERSE = re.compile(r"[^。？！]+[。？！]?")

CARD = read_card("tang_poems")


@datasets.register("tang_poems")
def tang_poems() -> TextSplits:
    """Load the bundled subset: three parts, uint8 `[N]` of UTF-8, one poem per line."""
    path = files("deepseek_learn.data") / "files" / "tang_poems.txt.xz"
    lines = lzma.decompress(path.read_bytes()).splitlines(keepends=True)
    return text_splits(lines, range(len(lines)), spoken(CARD))


def select(folder: str | Path) -> list[str]:
    """Return the poems that the above rule selects from the folder `quantangshi`.

    Raises:
        FileNotFoundError: if the folder has no `poet.tang.N.json`.
    """
    paths = list(Path(folder).glob("poet.tang.*.json"))
    if not paths:
        raise FileNotFoundError(
            f"folder must hold the package's poet.tang.N.json; found none in {folder}."
        )
    poems: list[str] = []
    seen: set[str] = set()
    for path in sorted(paths, key=lambda path: int(path.name.split(".")[2])):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            poem = "".join(entry["paragraphs"])
            verses = set(VERSE.findall(poem))
            if CLEAN.fullmatch(poem) and not verses & seen:
                poems.append(poem)
                seen |= verses
    return poems[::EVERY]


def make(folder: str | Path, target: str | Path) -> None:
    """Regenerate the subset: write `target`, xz, from the folder `quantangshi`."""
    content = "".join(f"{poem}\n" for poem in select(folder)).encode()
    with atomic_write(target) as temporary:
        temporary.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
