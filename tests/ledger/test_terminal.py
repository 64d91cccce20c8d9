"""The ledger in a terminal fits its width, and says what is asked for."""

import pytest
from rich.cells import cell_len

from deepseek_learn import catalog
from deepseek_learn.course import ledger
from deepseek_learn.errors import UnknownNameError
from deepseek_learn.ledger.terminal import show


@pytest.mark.parametrize("columns", [None, 60, 140])
@pytest.mark.parametrize("claim", ["", "C6"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_line_is_wider_than_the_output(claim, columns, lang, monkeypatch, capsys):
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(catalog, "_current", lang)
    show(ledger(), claim)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 20
    assert max(map(cell_len, lines)) <= (columns or 80)


def test_all_claims_with_figure_target_and_verdict(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    book = ledger()
    show(book)
    out = capsys.readouterr().out
    for claim in book.claims:
        assert f"{claim.name} " in out
        assert claim.says["en"] in out
        if claim.figure:
            assert claim.figure_words["en"] in out
    assert "claims met" in out


def test_only_missed_ones(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "200")
    book = ledger()
    show(book, missed=True)
    out = capsys.readouterr().out
    for claim in book.claims:
        has_missed = any("missed" in figure.verdicts for figure in claim.deciding)
        assert (claim.says["en"] in out) == has_missed
    show(book, "c2", missed=True)  # the name in any case
    lines = capsys.readouterr().out.splitlines()[3:]
    verdicts = [v for figure in book.claims[1].rows for v in figure.verdicts]
    assert sum(line.rstrip().endswith("missed") for line in lines) == verdicts.count(
        "missed"
    )
    assert not any(line.rstrip().endswith(" met") for line in lines)


def test_details_are_shown_where_they_are_asked_for(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "400")
    book = ledger()
    count, what = len(book.claims[1].details), book.claims[1].details[0].what
    show(book, "C2")
    short = capsys.readouterr().out
    assert f"{count} details without a target" in short
    assert what not in short
    show(book, "C2", details=True)
    assert what in capsys.readouterr().out


def test_an_unknown_claim_is_refused():
    with pytest.raises(UnknownNameError, match=r"'C99' is not known"):
        show(ledger(), "C99")
