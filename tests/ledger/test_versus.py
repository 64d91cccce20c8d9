"""The bars: where they lie, which of them are behind, and whole HTML in two languages."""

import re

import pytest

from deepseek_learn.course import write_result
from deepseek_learn.ledger import versus
from deepseek_learn.ledger.results import folder, read_result
from deepseek_learn.ledger.rows import Row

from .test_page import Cells

ROW = {"claim": "C2", "source": "ours", "unit": "times as good", "better": "higher"}
ROW |= {"target": 1.0, "peer": "A & B"}


def row(what, measured, low, high):
    values = {"measured": measured, "low": low, "high": high}
    return Row(what=f"{what}, against A & B", **ROW, **values)


AHEAD, BEHIND = row("a token", 4.0, 2.0, 5.0), row("a prompt", 0.5, 0.4, 0.9)
LEVEL = row("a <loss>", 1.1, 0.9, 1.3)


@pytest.fixture
def page(tmp_path):
    def make(*rows, lang="en"):
        write_result("versus", rows, "run it", directory=tmp_path)
        return versus.to_html(lang, tmp_path)

    return make


def test_an_interval_decides_what_is_ahead():
    rows = [AHEAD, LEVEL, BEHIND]
    assert [versus.standing(each) for each in rows] == ["ahead", "level", "behind"]
    assert versus.standing(row("sure", 1.0, 1.0, 1.0)) == "ahead"


def test_the_scale_is_logarithmic_and_holds_all_intervals():
    scale = versus.scale_of([AHEAD, BEHIND])
    assert scale == (-2.0, 3.0)
    places = [versus.place(value, scale) for value in (0.25, 0.5, 1.0, 2.0, 8.0)]
    assert places == [0.0, 20.0, 40.0, 60.0, 100.0]
    assert versus.scale_of([row("equal", 1.0, 1.0, 1.0)]) == (-1.0, 1.0)


def test_the_best_comes_first_and_all_of_it_is_shown(page):
    html = page(BEHIND, LEVEL, AHEAD)
    cells = Cells(html)
    kinds = [mark["class"] for mark in cells.marks if "class" in mark]
    assert kinds == ["versus-ahead", "versus-level", "versus-behind"]
    assert cells.cells[:2] == ["A & B", "4.00 (2.00–5.00) ahead"]
    assert "a &lt;loss&gt;" in html
    assert html.index("a token") < html.index("a prompt")


def test_a_bar_starts_at_one(page):
    html = page(AHEAD, BEHIND)  # from 1/4 to 8: 1 lies at 40 %
    assert 'style="left:40.0%;width:40.0%"' in html  # 1 to 4
    assert 'style="left:20.0%;width:20.0%"' in html  # 1/2 to 1


def test_the_chinese_page_has_chinese_words(page):
    html = page(AHEAD, lang="zh")
    assert "领先" in html
    assert "ahead" not in Cells(html).cells[1]


NAMES = r"SmolLM2|DeepOpt|U-Net-64|bacteria_unet|solar_defects|ONNX Runtime|OpenVINO"
UNITS = r"\b(float32|ms|nats|eager)\b|\de-\d"


def test_of_what_was_measured_only_names_and_units_stay_english():
    rows = read_result(folder() / "versus.json").rows
    words = [row.what.removesuffix(f", against {row.peer}") for row in rows]
    words += [row.note for row in rows if row.note]
    assert [versus.translate(each, "en") for each in words] == words
    rest = [re.sub(f"{NAMES}|{UNITS}", "", versus.translate(w, "zh")) for w in words]
    assert [each for each in rest if re.search("[A-Za-z]", each)] == []


def test_without_a_full_run_the_page_says_so(tmp_path):
    assert "versus.py" in versus.to_html("en", tmp_path)
