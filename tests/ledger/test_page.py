"""The ledger page: what each row shows, marks for the script, whole HTML, two languages."""

import re
from html.parser import HTMLParser

import pytest

from deepseek_learn.course import ledger, write_result
from deepseek_learn.ledger import page, results
from deepseek_learn.ledger.results import read_result
from deepseek_learn.ledger.rows import Row

ROW = {"claim": "C5", "source": "ours", "what": "exponent", "unit": "1"}
ROW |= {"better": "lower", "target": 1.2, "measured": 1.0}
VOID = {"br", "input", "meta", "!DOCTYPE"}


class Cells(HTMLParser):
    """The texts of a page's table cells; every tag must be closed in its order."""

    def __init__(self, content):
        super().__init__()
        self.stack, self.cells, self.marks = [], [], []
        self.feed(content)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.stack.append(tag)
        if tag == "td":
            self.cells.append("")
        if tag == "tr":
            self.marks.append(dict(attrs))

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if "td" in self.stack:
            self.cells[-1] += data


def rows_of(folder, *rows, protocol="", lang="en"):
    write_result("cost", rows, "run it", protocol=protocol, directory=folder)
    claim = ledger(folder).claims[4]
    return claim, page.section(claim, lang)


def table_of(section):
    return next(line for line in section.splitlines() if line.startswith("<details"))


def test_a_row_shows_all_that_was_promised(tmp_path):
    facts = {"low": 0.9, "high": 1.1, "peer": "timm", "peer_measured": 1.5, "n": 7}
    facts |= {"interval": "quartiles", "note": "at night"}
    claim, section = rows_of(tmp_path, Row(**ROW, **facts))
    assert Cells(table_of(section)).cells == [
        "exponent", "1 [0.9,\u00a01.1]", "≤ 1.2", "met"
    ]  # fmt: skip
    script = page.script_page(claim.rows[0].result, "en")
    what, measured, target, verdict = Cells(script).cells
    for part in ("exponent", "quartiles", "timm: 1.5", "n = 7", "at night", "C5: "):
        assert part in what
    assert results.machine()["cpu"] in what
    assert what.endswith(read_result(tmp_path / "cost.json").date)
    assert (measured, target, verdict) == ("1 [0.9,\u00a01.1]", "≤ 1.2", "met")


def test_the_heading_is_the_claim_in_words_and_has_its_anchor(tmp_path):
    claim, section = rows_of(tmp_path, Row(**ROW))
    assert section.startswith(f"(c5)=\n## C5: {claim.says['en']}\n\n**met**: 1 of 1 ")
    chinese = page.section(claim, "zh")
    assert f"## C5: {claim.says['zh']}" in chinese
    assert "**达到**" in chinese
    assert "突破传统Transformer" in chinese
    empty = page.section(ledger(tmp_path).claims[0], "en")
    assert "**not run**: nothing that decides" in empty
    assert "<details" not in empty


def test_the_protocol_and_the_details_are_folded_below(tmp_path):
    detail = Row(**ROW | {"what": "bytes", "target": None})
    claim, section = rows_of(tmp_path, Row(**ROW), detail, protocol="Each <in turn>.\n")
    assert 'src="../_static/ledger/cost.html"' in section
    assert "Protocols, readings and 1 details" in section
    assert "bytes" not in section
    script = page.script_page(claim.rows[0].result, "en")
    for part in ("<code>run it</code>", "<pre>Each &lt;in turn&gt;.</pre>", "bytes"):
        assert part in script
    assert '<html lang="zh">' in page.script_page(claim.rows[0].result, "zh")


def test_a_missed_row_says_that_its_interval_contains_the_target(tmp_path):
    crossing = Row(**ROW | {"measured": 1.25}, low=0.9, high=1.3)
    sure = Row(**ROW | {"measured": 1.25}, low=1.21, high=1.3)
    for row, crosses in ((crossing, True), (sure, False)):
        claim, _ = rows_of(tmp_path, row)
        script = page.script_page(claim.rows[0].result, "en")
        assert ("the interval contains the target" in script) == crosses


@pytest.mark.parametrize("text", ["<b>|x|\ny", 'a "quoted" & <i>'])
def test_markup_in_a_text_is_shown_as_text(tmp_path, text):
    claim, section = rows_of(tmp_path, Row(**ROW | {"what": text}, note=text))
    folded = [part for part in section.split("\n\n") if part.startswith("<details")]
    assert len(folded) == 2
    assert Cells(folded[0]).cells[0].count(text) == 1
    script = page.script_page(claim.rows[0].result, "en")
    assert Cells(script).cells[0].count(text) == 2


def test_rows_carry_what_the_script_filters_and_sorts_by(tmp_path):
    elsewhere = results.machine() | {"cpu": "another <chip>"}
    rows = [Row(**ROW), Row(**ROW | {"measured": 9}, machine=elsewhere)]
    rows.append(Row(**ROW | {"what": "here alone"}))
    claim, section = rows_of(tmp_path, *rows)
    cells = Cells(table_of(section))
    assert [m["data-verdict"] for m in cells.marks[1:]] == ["missed", "met"]
    assert set(cells.cells[1:3]) == {"1met", "9missed"}  # they differ, so each says it
    assert set(cells.cells[6:8]) == {"1", ""}
    controls = page.filters([claim], "en")
    columns = re.findall(r'<th scope="col" data-machine="([^"]*)">', section)
    assert len(columns) == 2
    for value in columns:
        assert f'<option value="{value}">' in controls
    assert controls.count("(this machine)") == 1
    assert 'value="not run"' not in controls  # no row has this verdict
    assert 'data-value="9"' in section


def test_the_glance_has_one_row_per_claim_and_the_figure_of_the_results():
    claims = ledger().claims
    for lang in ("en", "zh"):
        cells = Cells(page.glance(claims, lang)).cells
        assert len(cells) == 4 * len(claims)
        for claim, name, figure in zip(claims, cells[::4], cells[1::4], strict=True):
            assert name == f"{claim.name} {claim.says[lang]}"
            if claim.figure and claim.figure.row.measured is not None:
                assert f"{claim.figure.row.measured:.4g}" in figure
    assert 'href="#c19"' in page.glance(claims, "en")
