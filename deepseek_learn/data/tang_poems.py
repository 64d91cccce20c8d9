"""Tang poems: classical Chinese verse as UTF-8 bytes, a committed subset of the real text.

The file `files/tang_poems.txt.xz` holds one poem a line, its paragraphs joined, without
title and author. It was made, and can be made again, from the npm package
chinese-poetry 2.0.1 (MIT; SHA-256 of the archive
25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86) with

    npm pack chinese-poetry@2.0.1 && tar xzf chinese-poetry-2.0.1.tgz
    python -c "from deepseek_learn.data.tang_poems import make; \
        make('package/dist/quantangshi', 'tang_poems.txt.xz')"

Rule: the files poet.tang.N.json in the order of N; of their poems those that consist of
whole clauses of Chinese characters ending in ，。？！ (none with gaps, notes or quotation
marks); of these each poem that shares no verse (what ends in 。？！) with an earlier one
kept; of these every third. Lines 19, 39, 59, ... of the file are validation, lines 20,
40, 60, ... test, the rest is train.
"""

import json
import lzma
import re
from importlib.resources import files
from pathlib import Path

from ..catalog import spoken
from ..files import whole
from .dataset import TextSplits, datasets, read_card, text_splits

EVERY = 3  # of the poems kept, one in so many is in the file
CLEAN = re.compile(r"(?:[\u3400-\u9fff]+[，。？！])+")
VERSE = re.compile(r"[^。？！]+[。？！]?")

CARD = read_card("tang_poems")


@datasets.register("tang_poems")
def tang_poems() -> TextSplits:
    """The committed subset: three parts, uint8 `[N]` of UTF-8 text, one poem a line."""
    path = files("deepseek_learn.data") / "files" / "tang_poems.txt.xz"
    lines = lzma.decompress(path.read_bytes()).splitlines(keepends=True)
    return text_splits(lines, range(len(lines)), spoken(CARD))


def select(folder: str | Path) -> list[str]:
    """The poems that the rule above takes from the package's folder `quantangshi`.

    Raises:
        FileNotFoundError: when the folder holds no `poet.tang.N.json`.
    """
    paths = list(Path(folder).glob("poet.tang.*.json"))
    if not paths:
        raise FileNotFoundError(
            f"folder must hold the package's poet.tang.N.json; there is none in {folder}."
        )
    kept, seen = [], set()
    for path in sorted(paths, key=lambda path: int(path.name.split(".")[2])):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            poem = "".join(entry["paragraphs"])
            verses = set(VERSE.findall(poem))
            if CLEAN.fullmatch(poem) and not verses & seen:
                kept.append(poem)
                seen |= verses
    return kept[::EVERY]


def make(folder: str | Path, target: str | Path) -> None:
    """Write the subset anew: the package's folder `quantangshi` → `target`, xz."""
    content = "".join(f"{poem}\n" for poem in select(folder)).encode()
    with whole(target) as temporary:
        temporary.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
