"""Verdicts are computed, other machines' rows kept, damaged files rejected."""

import copy
import json
from dataclasses import replace

import pytest

from deepseek_learn.course import ledger, write_result
from deepseek_learn.errors import DamagedFileError
from deepseek_learn.files import REPOSITORY
from deepseek_learn.ledger import page, results
from deepseek_learn.ledger.claim import BARELY, VERDICTS
from deepseek_learn.ledger.results import read_result
from deepseek_learn.ledger.rows import Row
from deepseek_learn.ledger.storage import details_of

ROW = {"claim": "C5", "source": "ours", "what": "exponent", "unit": "1"}
ROW |= {"better": "lower", "target": 1.2, "measured": 1.0}
RESULTS = sorted((REPOSITORY / "benchmarks" / "results").glob("*.json"))


def row(**changes):
    return Row(**ROW | changes)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_committed_result_is_saved_as_it_was_read(path, tmp_path):
    read_result(path).save(tmp_path / path.name)
    for file in (path, details_of(path)):
        again = tmp_path / file.name
        assert again.exists() == file.exists()
        assert not again.exists() or again.read_bytes() == file.read_bytes()


def test_a_row_of_the_ledger_has_a_target_and_a_claim_one_deciding_figure():
    claims = ledger().claims
    rows = [figure for claim in claims for figure in claim.rows]
    assert 0 < len(rows) <= 600
    assert all(row.target is not None for figure in rows for row in figure.columns)
    for claim in claims:
        assert all(figure.row.target is None for figure in claim.details)
        chosen = claim.figure_words["row"]
        assert [figure.what for figure in claim.deciding].count(chosen) == 1


def column(content, number=0):
    """The column of the first machine in a row of a result file."""
    return next(iter(content["rows"][number]["machines"].values()))


def verdict_of(folder, *rows, name="C5"):
    rows = [replace(row, what=f"{row.what} {i}") for i, row in enumerate(rows)]
    write_result("cost", rows, "python benchmarks/cost.py", directory=folder)
    return {claim.name: claim.verdict for claim in ledger(folder).claims}[name]


@pytest.mark.parametrize(
    ("target", "better", "measured", "wanted"),
    [
        (1.2, "lower", 1.2, "met"),
        (1.2, "lower", 1.3, "missed"),
        (1.2, "higher", 1.2, "met"),
        (1.2, "higher", 1.1, "missed"),
        (None, "higher", 1.1, "information"),
        (1.2, "higher", None, "untestable here"),
    ],
)
def test_verdict_of_a_row(target, better, measured, wanted):
    note = "" if measured else "needs a GPU"
    facts = {"target": target, "better": better, "measured": measured}
    assert row(**facts, note=note).verdict == wanted


@pytest.mark.parametrize(
    ("better", "measured", "low", "high", "wanted"),
    [
        ("lower", 1.0, 0.9, 1.2, "met"),  # the worse end just reaches the target
        ("lower", 1.0, 0.9, 1.21, "on the mean only"),
        ("lower", 1.3, 1.1, 1.4, "missed"),  # the better end alone is not enough
        ("higher", 1.3, 1.2, 1.4, "met"),
        ("higher", 1.3, 1.19, 1.4, "on the mean only"),
        ("higher", 1.1, 0.9, 1.3, "missed"),
        ("higher", 1.3, None, 1.4, "met"),
    ],
)
def test_verdict_looks_at_the_worse_end_of_the_interval(
    better, measured, low, high, wanted
):
    facts = {"target": 1.2, "better": better, "measured": measured}
    assert row(**facts, low=low, high=high).verdict == wanted


def test_what_choices_were_made_on_can_be_missed_but_not_met(tmp_path):
    """A row that reaches its target there is information, and decides nothing."""
    seen = {"choices": "the width was chosen on these pictures", "what": "seen"}
    assert row(**seen).verdict == "information"
    assert row(**seen, low=0.9, high=1.3).verdict == "information"
    assert row(**seen, measured=1.3).verdict == "missed"
    assert row(**seen, measured=None, note="no GPU").verdict == "untestable here"
    assert verdict_of(tmp_path, row(**seen)) == "not run"
    held_out = row(low=0.9, high=1.3)
    assert verdict_of(tmp_path, row(**seen), held_out) == BARELY
    [again, _] = read_result(tmp_path / "cost.json").rows
    assert again.choices == seen["choices"]
    assert seen["choices"] in ledger(tmp_path).to_markdown("en")


def test_typed_verdict_is_not_believed(tmp_path):
    path = write_result("cost", [row(measured=9)], "run", directory=tmp_path)
    content = json.loads(path.read_text())
    assert column(content)["verdict"] == "missed"
    column(content)["verdict"] = "met"
    path.write_text(json.dumps(content))
    assert read_result(path).rows[0].verdict == "missed"


def test_outdated_result_decides_nothing_until_it_is_run_again(tmp_path):
    path = write_result("cost", [row()], "run", directory=tmp_path)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"outdated": "Another protocol."}))
    claim = next(c for c in ledger(tmp_path).claims if c.name == "C5")
    assert claim.verdict == "not run"
    assert [figure.verdict for figure in claim.rows] == ["outdated"]
    assert "Another protocol." in page.script_page(read_result(path))
    write_result("other", [row()], "run", directory=tmp_path)
    claim = next(c for c in ledger(tmp_path).claims if c.name == "C5")
    assert claim.verdict == "partly"  # met, but not by all deciding rows
    (tmp_path / "other.json").unlink()
    with pytest.raises(ValueError, match="cost must be run in full first"):
        write_result("cost", [row()], "run", only_speed=True, directory=tmp_path)
    assert verdict_of(tmp_path, row()) == "met"


def test_verdict_of_a_claim(tmp_path):
    good, bad = row(), row(measured=9)
    unmeasured = row(measured=None, note="needs a GPU")
    assert verdict_of(tmp_path, good, good) == "met"
    assert verdict_of(tmp_path, bad) == "missed"
    assert verdict_of(tmp_path, good, bad) == "partly"
    assert verdict_of(tmp_path, good, unmeasured) == "partly"
    assert verdict_of(tmp_path, bad, unmeasured) == "missed"
    assert verdict_of(tmp_path, unmeasured) == "untestable here"
    assert verdict_of(tmp_path, row(target=None)) == "not run"
    assert verdict_of(tmp_path, good, name="C6") == "not run"
    barely = row(low=0.9, high=1.3)
    assert verdict_of(tmp_path, barely) == "on the mean only"
    assert verdict_of(tmp_path, good, barely) == "on the mean only"
    assert verdict_of(tmp_path, barely, bad) == "partly"
    assert verdict_of(tmp_path, barely, unmeasured) == "partly"
    assert verdict_of(tmp_path, good, barely, bad) == "partly"


def test_where_the_guide_has_a_number_it_decides(tmp_path):
    rows = row(claim="C6"), row(claim="C6", source="guide", measured=9)
    assert verdict_of(tmp_path, *rows, name="C6") == "missed"


def test_rows_of_another_machine_are_kept(tmp_path, monkeypatch):
    here = results.machine()
    write_result("cost", [row(what="here, old")], "run", directory=tmp_path)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(results, "machine", lambda: here | {"cpu": "another"})
        write_result("cost", [row(what="there")], "run", directory=tmp_path)
    path = write_result("cost", [row(what="here, new")], "run", directory=tmp_path)
    assert [r.what for r in read_result(path).rows] == ["there", "here, new"]


@pytest.mark.parametrize("marked", [False, True])
def test_rows_of_another_protocol_are_not_kept(tmp_path, monkeypatch, marked):
    here, options = results.machine(), {"directory": tmp_path}
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(results, "machine", lambda: here | {"cpu": "another"})
        path = write_result("cost", [row(what="a")], "run", protocol="old", **options)
    if marked:
        content = json.loads(path.read_text()) | {"outdated": "!", "protocol": "new"}
        path.write_text(json.dumps(content))
    write_result("cost", [row(what="b")], "run", protocol="new", **options)
    assert [r.what for r in read_result(path).rows] == ["b"]


def test_accuracy_replaces_the_rows_of_every_machine(tmp_path, monkeypatch):
    here = results.machine()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(results, "machine", lambda: here | {"cpu": "another"})
        write_result("cost", [row(what="there")], "run", directory=tmp_path)
    options = {"of_the_machine": False, "directory": tmp_path}
    path = write_result("cost", [row(what="here")], "run", **options)
    assert [r.what for r in read_result(path).rows] == ["here"]


def test_quick_run_never_touches_a_full_result(tmp_path):
    full = write_result("cost", [row()], "run", directory=tmp_path)
    before = full.read_text()
    quick = write_result("cost", [row(measured=9)], "run", "quick", directory=tmp_path)
    assert quick == tmp_path / "quick" / "cost.json"
    assert full.read_text() == before
    assert verdict_of(tmp_path, row()) == "met"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"claim": "C99"}, "no claim 'C99'"),
        ({"source": "someone"}, "'source' is not guide or ours"),
        ({"better": "more"}, "'better' is not lower or higher"),
        ({"measured": float("nan")}, "'measured' is not a finite number"),
        ({"measured": "1.0"}, "'measured' is not a finite number"),
        ({"measured": None}, "'measured' is null, but no 'note' gives the reason"),
        ({"unit": None}, "'unit' is not a string"),
        ({"note": 3}, "'note' is not a string"),
    ],
)
def test_bad_row_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        row(**changes)


def damage(content, kind):
    content = copy.deepcopy(content)
    if kind == "mode":
        content["mode"] = "half"
    if kind == "machine":
        del next(iter(content["machines"].values()))["gpu"]
    if kind == "missing":
        del content["rows"][0]["unit"]
    if kind == "unmeasured":
        del column(content)["measured"]
    if kind == "no column":
        content["rows"][0]["machines"] = {}
    if kind == "no target":
        content["rows"][0]["target"] = None
    if kind == "nameless":
        content["machines"] = {}
    if kind == "unknown":
        column(content)["speed"] = 3
    if kind == "details":
        content["details"] = 1
    if kind == "extra":
        content["author"] = "me"
    if kind == "rows":
        content["rows"] = {}
    return "[]" if kind == "list" else "{" if kind == "cut" else json.dumps(content)


@pytest.mark.parametrize(
    "kind",
    [
        "mode", "machine", "missing", "unmeasured", "no column", "no target",
        "nameless", "unknown", "details", "extra", "rows", "list", "cut",
    ],
)  # fmt: skip
def test_damaged_file_is_one_sentence_and_left_alone(tmp_path, kind):
    path = write_result("cost", [row()], "run", directory=tmp_path)
    path.write_text(damage(json.loads(path.read_text()), kind))
    before = path.read_text()
    with pytest.raises(DamagedFileError, match=r"cost\.json is not a benchmark result"):
        ledger(tmp_path)
    with pytest.raises(DamagedFileError):
        write_result("cost", [row()], "run", directory=tmp_path)
    assert path.read_text() == before


def detail(**changes):
    return row(**{"what": "bytes", "target": None} | changes)


def test_what_has_no_target_is_a_detail_in_a_table_beside_the_figures(tmp_path):
    facts = {"unit": "", "measured": 1 / 3, "low": 0.25, "n": 3, "note": 'a "b",\nc'}
    facts |= {"peer": "timm", "peer_measured": 1e-9, "choices": "seen"}
    rows = [row(), detail(**facts), detail(what="none", measured=None, note="no GPU")]
    path = write_result("cost", rows, "run", directory=tmp_path)
    assert len(json.loads(path.read_text())["rows"]) == 1
    first, second, third = read_result(path).rows
    assert (first.what, first.target) == ("exponent", 1.2)
    assert {name: getattr(second, name) for name in facts} == facts
    assert (second.high, second.readings, third.measured) == (None, (), None)
    claim = ledger(tmp_path).claims[4]
    assert [figure.what for figure in claim.rows] == ["exponent"]
    assert [figure.what for figure in claim.details] == ["bytes", "none"]
    assert list(ledger(tmp_path).rows("C5")["what"]) == ["exponent", "bytes", "none"]
    write_result("cost", [row()], "run", directory=tmp_path)
    assert not details_of(path).exists()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("claim,source", "source,claim"),
        ("0.5", "half"),
        ("lower", "less"),
        ("lower,", "lower,another "),
        ("C5,ours,bytes,1,lower", 'C5,ours,"bytes,1,lower'),
        ("C5,ours,bytes,", 'C5,ours,"bytes"s,'),
    ],
)
def test_a_damaged_table_of_details_is_one_sentence(tmp_path, old, new):
    rows = [row(), detail(measured=0.5)]
    path = write_result("cost", rows, "run", directory=tmp_path)
    table = details_of(path)
    assert old in table.read_text()
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DamagedFileError, match=r"cost\.json is not a benchmark result"):
        ledger(tmp_path)


def test_the_detail_that_is_damaged_is_named(tmp_path):
    rows = [row(), detail(measured=0.5), detail(what="other", measured=0.75)]
    table = details_of(write_result("cost", rows, "run", directory=tmp_path))
    table.write_text(table.read_text().replace("0.75", "much"))
    with pytest.raises(DamagedFileError, match="detail 2: 'measured' is not a number"):
        ledger(tmp_path)


def test_two_rows_of_one_figure_on_one_machine_are_refused(tmp_path):
    rows = [row(), row(measured=1.1)]
    with pytest.raises(ValueError, match="two rows on one machine measure 'exponent'"):
        write_result("cost", rows, "run", directory=tmp_path)


def test_the_machines_are_the_columns_of_a_figure(tmp_path):
    """Each has its verdict; the figure's is the worst, its value the farthest."""
    far = results.machine() | {"cpu": "far"}
    rows = [row(low=0.9, high=1.1), row(measured=9, machine=far)]
    path = write_result("cost", rows, "run", directory=tmp_path)
    [stored] = json.loads(path.read_text())["rows"]
    assert len(stored["machines"]) == 2
    claim = ledger(tmp_path).claims[4]
    [figure] = claim.rows
    assert figure.verdicts == ("met", "missed")
    assert (figure.verdict, figure.row.measured) == ("missed", 9)
    assert claim.verdict == "partly"


def test_the_figure_that_decides_agrees_with_the_verdict():
    """A met claim shows a met row; of any other, the row is no better than the claim."""
    for claim in ledger().claims:
        assert set(claim.says) == {"en", "zh"}
        if not claim.deciding:
            assert claim.figure is None
            continue
        assert claim.figure is not None, f"{claim.name} has no row for its figure"
        assert set(claim.figure_words) == {"row", "en", "zh"}
        partly = claim.figure.verdict in (BARELY, "missed", "untestable here")
        same = claim.figure.verdict == claim.verdict
        assert partly if claim.verdict == "partly" else same, claim.name


def test_of_several_machines_the_figure_is_the_farthest_from_its_target(tmp_path):
    what = ledger(tmp_path).claims[5].figure_words["row"]
    facts = {"claim": "C6", "source": "guide", "what": what, "better": "higher"}
    rows = [
        row(**facts, measured=value, machine=results.machine() | {"cpu": cpu})
        for cpu, value in (("a", 1.1), ("b", 0.9), ("c", 1.3))
    ]
    write_result("cost", rows, "run", directory=tmp_path)
    figure = ledger(tmp_path).claims[5].figure
    assert (figure.row.measured, figure.verdict) == (0.9, "missed")
    assert row(better="lower", target=2.0, measured=3.0).margin == -1.0
    assert row(target=None).margin == float("-inf")


def test_ledger_of_nothing_says_not_run(tmp_path):
    empty = ledger(tmp_path)
    assert [c.name for c in empty.claims] == [f"C{i}" for i in range(1, 20)]
    assert {c.verdict for c in empty.claims} == {"not run"}
    assert empty.why().endswith("19 not run.")
    assert set(empty.to_frame().claim_verdict) == {"not run"}


def test_ledger_of_no_folder_is_refused(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"nowhere is not a folder"):
        ledger(tmp_path / "nowhere")


def test_shown_in_a_notebook_and_plotted(tmp_path):
    write_result("cost", [row()], "run", directory=tmp_path)
    shown = ledger(tmp_path)
    assert ">met</span>" in shown._repr_html_()
    assert 'href="#c5"' not in shown._repr_html_()  # it leads nowhere in a notebook
    assert list(shown.plot().data[0].y) == [shown.count(v) for v in VERDICTS]


@pytest.mark.parametrize("field", ["name", "command", "date"])
def test_a_result_says_who_made_it_and_when(tmp_path, field):
    path = write_result("cost", [row()], "run", directory=tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: 3}))
    with pytest.raises(DamagedFileError, match=f"'{field}' is not a string"):
        read_result(path)


@pytest.mark.parametrize(
    "field", ["target", "measured", "low", "high", "peer_measured", "n"]
)
def test_numbers_are_numbers(field):
    for wrong in (True, "1", float("inf")):
        with pytest.raises(ValueError, match=f"'{field}' is not a finite number"):
            row(**{field: wrong})


@pytest.mark.parametrize("field", ["claim", "what", "unit", "peer", "note", "interval"])
def test_texts_are_texts(field):
    with pytest.raises(ValueError, match=f"'{field}' is not a string"):
        row(**{field: 3})


@pytest.mark.parametrize("key", ["cpu", "cores", "gpu", "torch", "threads"])
def test_a_machine_is_named_whole(key):
    less = {k: v for k, v in results.machine().items() if k != key}
    with pytest.raises(ValueError, match=f"'machine' lacks one of .*{key}"):
        row(machine=less)


def test_a_row_keeps_the_machine_and_the_date_that_it_brings(tmp_path):
    elsewhere = results.machine() | {"cpu": "another"}
    rows = [row(machine=elsewhere, date="2026-11-01"), row(what="other")]
    first, second = read_result(
        write_result("cost", rows, "run", directory=tmp_path)
    ).rows
    assert (first.machine["cpu"], first.date) == ("another", "2026-11-01")
    assert (second.machine, len(second.date)) == (results.machine(), 10)


def test_the_same_machine_is_the_same_hardware():
    here = results.machine()
    for key, other in (("cpu", "another"), ("cores", 99), ("gpu", "a card")):
        assert not results.same_machine(here, here | {key: other})
    assert results.same_machine(here, here | {"torch": "9.9", "threads": 99})


def test_only_full_results_are_rows_of_the_ledger(tmp_path):
    path = write_result("cost", [row()], "run", protocol="So.", directory=tmp_path)
    (read,) = results.read_results(tmp_path)
    assert (read.name, read.command, read.protocol) == ("cost", "run", "So.")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"mode": "quick"}))
    assert results.read_results(tmp_path) == []
    with pytest.raises(ValueError, match="mode must be"):
        write_result("cost", [row()], "run", "half", directory=tmp_path)
