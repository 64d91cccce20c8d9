"""The PDF: the same bytes everywhere, and a file that readers can read."""

import io
import re

import pytest

from deepseek_learn.course.certificate import Refused, fonts
from deepseek_learn.course.certificate.fonts import dejavu
from deepseek_learn.course.certificate.pdf import WIDTH, document, length, placed, runs
from tests.services import need

LINES = [(26, "A title"), (34, "Łukasz Ñandú"), (15, "王小明 wins 0.9")]


@pytest.fixture(autouse=True)
def library():
    need("fontTools")


def test_the_table_finds_each_object():
    content = document("A title", LINES)
    start = int(re.search(rb"startxref\n(\d+)", content)[1])
    assert content[start:].startswith(b"xref\n")
    places = re.findall(rb"^(\d{10}) 00000 n $", content[start:], re.MULTILINE)
    assert len(places) == 9
    for number, place in enumerate(places, 1):
        assert content[int(place) :].startswith(b"%d 0 obj\n" % number)


def test_streams_are_as_long_as_they_say():
    content = document("A title", LINES)
    heads = list(re.finditer(rb"/Length (\d+)[^>]*>>\nstream\n", content))
    assert len(heads) == 3
    for head in heads:
        assert content[head.end() + int(head[1]) :].startswith(b"\nendstream")


def test_the_embedded_font_draws_its_letters_and_no_others():
    """Also letters that are composed of others; read by fontTools."""
    from fontTools.pens.recordingPen import DecomposingRecordingPen
    from fontTools.ttLib import TTFont

    font = dejavu()
    subset = TTFont(io.BytesIO(font.subset(set(font.glyphs("aŁÑ")))), lazy=True)
    whole, names = font.reader, font.reader.getGlyphOrder()

    def outline(source, name, glyph):
        pen = DecomposingRecordingPen(source.getGlyphSet())
        source.getGlyphSet()[name].draw(pen)
        return pen.value

    for letter, glyph in zip("aŁÑ", font.glyphs("aŁÑ"), strict=True):
        there = subset.getGlyphOrder()[glyph]
        assert outline(subset, there, glyph) == outline(whole, names[glyph], glyph), (
            letter
        )
        assert outline(subset, there, glyph)
    (other,) = font.glyphs("q")
    assert not outline(subset, subset.getGlyphOrder()[other], other)


def test_a_line_is_centered():
    font = dejavu()
    for line in ("words", "王小明 wins"):
        places = [
            re.search(r"0 0 1 (\S+)", c)[1] for c in placed(font, line, 12.0, 9.0)
        ]
        width = sum(12 * length(font, *run) for run in runs(line))
        assert abs(float(places[0]) - (WIDTH - width) / 2) < 0.01
        assert len(places) == len(runs(line))


def test_a_long_list_of_lines_makes_the_page_longer():
    height = re.compile(rb"MediaBox\[0 0 842 (\d+)\]")
    assert int(height.search(document("", LINES))[1]) == 595
    assert int(height.search(document("", LINES * 30))[1]) > 30 * 75


def test_another_font_is_refused(monkeypatch):
    """Rather than that every PDF looks changed."""
    monkeypatch.setattr(fonts, "SHA256", "0" * 64)
    dejavu.cache_clear()
    with pytest.raises(Refused, match=r"DejaVuSans\.ttf is not DejaVu Sans 2\.37"):
        dejavu()


def test_latin_letters_are_glyphs_of_the_font_and_chinese_ones_utf_16():
    font = dejavu()
    latin, chinese = placed(font, "ab王", 10, 0)
    glyphs = "".join(f"{glyph:04X}" for glyph in font.glyphs("ab"))
    assert latin.startswith("/L ")
    assert f"<{glyphs}>" in latin.upper()
    assert chinese.startswith("/C ")
    assert f"<{'王'.encode('utf-16-be').hex().upper()}>" in chinese.upper()
