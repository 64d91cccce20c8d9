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

from ..catalogue import spoken
from ..files import whole
from .dataset import DataCard, TextSplits, datasets, text_splits

EVERY = 3  # of the poems kept, one in so many is in the file
CLEAN = re.compile(r"(?:[\u3400-\u9fff]+[，。？！])+")
VERSE = re.compile(r"[^。？！]+[。？！]?")

CARD = DataCard(
    name="tang_poems",
    title={"en": "Tang poems, subset", "zh": "唐诗子集"},
    origin={
        "en": "the Complete Tang Poems (compiled in 1705) as the project chinese-poetry "
        "transcribed them, by way of its npm package chinese-poetry 2.0.1",
        "zh": "《全唐诗》（1705 年编纂），由 chinese-poetry 项目录入，"
        "取自其 npm 软件包 chinese-poetry 2.0.1",
    },
    licence="MIT, Copyright 2016 JackeyGao",
    citation="chinese-poetry 2.0.1 (npm); 全唐詩",
    size={
        "en": "16,168 of 57,607 poems, 2,879,338 bytes of UTF-8 (970,558 characters), "
        "traditional characters, one poem a line",
        "zh": "57,607 首诗中的 16,168 首，UTF-8 编码 2,879,338 字节（970,558 个字符），"
        "繁体字，每行一首",
    },
    split={
        "en": "of every 20 poems in the file 18 are train, one is validation and one "
        "test; no verse occurs in two poems",
        "zh": "文件中每 20 首诗里 18 首用于训练，1 首用于验证，1 首用于测试；"
        "任何两首诗都没有相同的诗句",
    },
    traps=(
        {
            "en": "A common Chinese character is three bytes, of which the first is easily "
            "guessed: accuracy a byte is far above accuracy a character.",
            "zh": "常用汉字占三个字节，其中第一个字节很容易猜中："
            "按字节计的准确率远高于按字计的准确率。",
        },
        {
            "en": "The same poets, and poems of one series, are in all parts: the figures "
            "say nothing of a new poet's style.",
            "zh": "同一诗人以及同一组诗的作品分布在各个部分中："
            "数字不能说明对新诗人风格的预测能力。",
        },
        {
            "en": "Poems with gaps, notes or quotation marks are left out; variants of a "
            "verse that differ in one character may remain.",
            "zh": "有缺字、注释或引号的诗未收入；仅一字之差的异文可能仍然存在。",
        },
    ),
)


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
