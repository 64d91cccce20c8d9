"""The bars: from the ledger's rows, where they lie, which are behind, two languages."""

import importlib

import pytest

from deepseek_learn.course import write_result
from deepseek_learn.files import REPOSITORY
from deepseek_learn.ledger import results, versus
from deepseek_learn.ledger.results import folder, read_result
from deepseek_learn.ledger.rows import Row
from deepseek_learn.ledger.versus import PeerComparison

from .test_page import Cells

ROW = {"claim": "C2", "source": "ours", "unit": "ratio", "better": "higher"}
NAMES = {"en": "a <token>", "zh": "词元"}


def row(what, measured, low, high, **more):
    values = {"measured": measured, "low": low, "high": high}
    return Row(what=what, **ROW | values | more)


def compared(times, low, high):
    return PeerComparison(NAMES, "A & B", times, low, high)


AHEAD, BEHIND = compared(4.0, 2.0, 5.0), compared(0.5, 0.4, 0.9)
LEVEL = compared(1.1, 0.9, 1.3)


@pytest.fixture
def page(tmp_path, monkeypatch):
    """The page of these rows of one result, each of which is a comparison."""

    def make(*rows, lang="en"):
        entries = [
            {"result": "race", "row": row.what, "en": row.what, "zh": f"中{i}"}
            | ({"peer": "A & B"} if row.peer is None else {})
            for i, row in enumerate(rows)
        ]
        monkeypatch.setattr(versus, "entries", lambda: entries)
        write_result("race", rows, "run it", directory=tmp_path)
        return versus.to_html(lang, tmp_path)

    return make


def test_a_ratio_is_turned_so_that_more_is_better():
    higher = PeerComparison.of(row("a", 4.0, 2.0, 5.0), NAMES, "A")
    lower = PeerComparison.of(row("a", 0.25, 0.2, 0.5, better="lower"), NAMES, "A")
    for each in (higher, lower):
        assert (each.times, each.low, each.high) == (4.0, 2.0, 5.0)
    bare = PeerComparison.of(row("a", 4.0, None, None), NAMES, "A")
    assert (bare.low, bare.high) == (4.0, 4.0)


def test_an_interval_decides_what_is_ahead():
    assert [each.standing for each in (AHEAD, LEVEL, BEHIND)] == [
        "ahead", "level", "behind"
    ]  # fmt: skip
    assert compared(1.0, 1.0, 1.0).standing == "ahead"


def test_the_scale_is_logarithmic_and_holds_all_intervals():
    scale = versus.scale_of([AHEAD, BEHIND])
    assert scale == (-2.0, 3.0)
    places = [versus.place(value, scale) for value in (0.25, 0.5, 1.0, 2.0, 8.0)]
    assert places == [0.0, 20.0, 40.0, 60.0, 100.0]
    assert versus.scale_of([compared(1.0, 1.0, 1.0)]) == (-1.0, 1.0)


def test_the_best_comes_first_and_all_of_it_is_shown(page):
    behind = row("a prompt", 2.0, 1.1, 2.5, better="lower")
    level = row("a <loss>", 1.1, 0.9, 1.3, peer="MNN")
    html = page(behind, level, row("a token", 4.0, 2.0, 5.0, target=9.0))
    cells = Cells(html)
    kinds = [mark["class"] for mark in cells.marks if "class" in mark]
    assert kinds == ["versus-ahead", "versus-level", "versus-behind"]
    assert cells.cells[:2] == ["A & B", "4.00 (2.00–5.00) ahead"]
    assert cells.cells[3] == "MNN"
    assert "a &lt;loss&gt;" in html
    assert html.index("a token") < html.index("a prompt")


def test_each_machine_has_its_table(page):
    far = results.machine() | {"cpu": "far"}
    rows = row("a token", 4.0, 2.0, 5.0), row("a prompt", 2.0, 2.0, 2.0, machine=far)
    html = page(*rows)
    assert html.count("<table") == 2
    assert "<caption>far: " in html


def test_a_bar_starts_at_one(page):
    html = page(row("a", 4.0, 2.0, 5.0), row("b", 0.5, 0.4, 0.9))  # 1/4 to 8: 1 at 40 %
    assert 'style="left:40.0%;width:40.0%"' in html  # 1 to 4
    assert 'style="left:20.0%;width:20.0%"' in html  # 1/2 to 1


def test_the_chinese_page_has_chinese_words(page):
    html = page(row("a token", 4.0, 2.0, 5.0), lang="zh")
    assert "领先" in html
    assert "中0" in html
    assert "ahead" not in Cells(html).cells[1]


def test_each_comparison_is_one_figure_of_the_ledger():
    for entry in versus.entries():
        rows = read_result(folder() / f"{entry['result']}.json").rows
        columns = [row for row in rows if row.what == entry["row"]]
        assert len({row.figure for row in columns}) == 1, entry["row"]
        assert all("peer" in entry or row.peer for row in columns)
        assert entry["zh"] != entry["en"]
    pairs = [(entry["en"], entry.get("peer")) for entry in versus.entries()]
    assert len(set(pairs)) == len(pairs)


def test_the_readers_own_run_stands_beside_the_ledgers_rows(
    page, tmp_path, monkeypatch
):
    token = row("a token", 4.0, 2.0, 5.0)
    own = row("a token, against A", 3.0, 2.5, 3.5, peer="A")
    write_result("versus", [own], "run it", "quick", directory=tmp_path)
    html = page(token, lang="zh")
    assert html.count("<table") == 2
    assert "你自己" in html
    assert html.count("中0") == 2  # its name is translated as well
    monkeypatch.syspath_prepend(str(REPOSITORY / "benchmarks"))
    script = importlib.import_module("versus").SCRIPT
    assert script.own


def test_without_a_full_run_the_page_says_so(tmp_path):
    assert "versus.py" in versus.to_html("en", tmp_path)
