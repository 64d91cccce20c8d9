"""A speed row: readings from different hours, none lost; never met with under three."""

import json

import pytest

from deepseek_learn.course import ledger, write_result
from deepseek_learn.errors import DamagedFileError
from deepseek_learn.ledger import page, results
from deepseek_learn.ledger.readings import Reading, appended, hours, now, summary
from deepseek_learn.ledger.results import read_result
from deepseek_learn.ledger.rows import Row

from .test_ledger import column

ROW = {"claim": "C7", "source": "ours", "what": "pace", "unit": "x", "target": 2.0}
ROW |= {"better": "higher"}
TIMES = ("2026-11-24", "2026-11-25T08:00:00Z", "2026-11-25T09:30:00Z")


def reading(time=TIMES[0], measured=1.0, **facts):
    return Reading(time, None, measured, **facts)


def take(folder, time, measured, spread=0.1, where=None, **more):
    """One run of a script with one speed row and one other row."""
    facts = {"measured": measured, "low": measured - spread, "high": measured + spread}
    facts |= {"machine": where}
    speed = Row(**ROW | facts, n=9).at(time)
    rows = [speed, Row(**ROW | {"what": "bytes"} | facts)]
    return write_result("pace", rows, "run", directory=folder, **more)


def speed_rows(path):
    return [row for row in read_result(path).rows if row.readings]


def test_three_hours_make_a_row_that_can_be_met(tmp_path):
    verdicts = []
    for time, measured in zip(TIMES, (3.0, 2.4, 2.5), strict=True):
        path = take(tmp_path, time, measured)
        (row,) = speed_rows(path)
        verdicts.append(row.verdict)
    assert verdicts == ["on the mean only", "on the mean only", "met"]
    assert row.measured == 2.5  # the median
    assert (row.low, row.high) == pytest.approx((2.3, 3.1))  # the full span
    assert [r.measured for r in row.readings] == [3.0, 2.4, 2.5]
    assert [r.n for r in row.readings] == [9, 9, 9]
    assert (row.n, row.interval) == (3, "span of readings")


def test_a_low_reading_is_kept_and_counts(tmp_path):
    for time, measured in zip(TIMES, (3.0, 2.05, 2.5), strict=True):
        path = take(tmp_path, time, measured)
    (row,) = speed_rows(path)
    assert row.verdict == "on the mean only"
    assert row.low == pytest.approx(1.95)


def test_readings_of_one_hour_are_kept_but_are_no_three(tmp_path):
    for minute in (0, 20, 40, 59):
        path = take(tmp_path, f"2026-11-25T08:{minute:02}:00Z", 3.0)
    (row,) = speed_rows(path)
    assert len(row.readings) == 4
    assert hours(row.readings) == 1
    assert row.verdict == "on the mean only"
    times = ("2026-11-25T08:00:00Z", "2026-11-25T09:00:00Z", "2026-11-25T09:59:00Z")
    assert hours([reading(time) for time in times]) == 2


def test_the_same_reading_is_kept_once_and_in_order_of_time():
    one, two = (reading(time) for time in TIMES[:2])
    assert appended([two], one) == (one, two)
    assert appended([one, two], two) == (one, two)


def test_value_and_interval_are_computed_and_not_believed(tmp_path):
    path = take(tmp_path, TIMES[0], 3.0)
    content = json.loads(path.read_text())
    column(content).update(measured=9.0, low=9.0, high=9.0, verdict="met")
    path.write_text(json.dumps(content))
    (row,) = speed_rows(path)
    assert (row.measured, row.low) == (3.0, 2.9)
    assert row.verdict == "on the mean only"


def test_a_reading_without_interval_spans_its_value():
    bare = reading(measured=2.0, n=5)
    assert summary([bare])["low"] is None
    both = summary([bare, reading(measured=3.0, low=2.5, high=3.5)])
    assert (both["measured"], both["low"], both["high"]) == (2.5, 2.0, 3.5)


def test_missed_by_its_value_however_few():
    assert Row(**ROW, measured=1.9).at(TIMES[0]).verdict == "missed"


def test_a_run_without_the_row_does_not_lose_its_readings(tmp_path):
    take(tmp_path, TIMES[0], 3.0)
    path = write_result("pace", [Row(**ROW | {"what": "new"}, measured=1.0)], "run",
                        directory=tmp_path)  # fmt: skip
    assert [row.what for row in read_result(path).rows] == ["new", "pace"]
    path = write_result("pace", [], "run", of_the_machine=False, directory=tmp_path)
    assert [row.what for row in read_result(path).rows] == ["pace"]


def test_readings_of_another_machine_stand_in_a_row_of_their_own(tmp_path):
    take(tmp_path, TIMES[0], 3.0)
    other = results.machine() | {"cpu": "another"}
    path = take(tmp_path, TIMES[1], 5.0, where=other, of_the_machine=False)
    here, there = speed_rows(path)
    assert {here.measured, there.measured} == {3.0, 5.0}
    newer = results.machine() | {"torch": "9.9"}  # the same hardware
    path = take(tmp_path, TIMES[2], 4.0, where=newer)
    (local,) = (row for row in speed_rows(path) if row.machine["cpu"] != "another")
    assert [r.machine["torch"] for r in local.readings] == [
        results.machine()["torch"], "9.9"
    ]  # fmt: skip


def test_only_speed_leaves_the_rest_of_the_file_as_it_is(tmp_path):
    path = take(tmp_path, TIMES[0], 3.0, protocol="the protocol")
    before = read_result(path)
    facts = {"protocol": "another", "only_speed": True}
    path = take(tmp_path, TIMES[1], 2.5, **facts)
    after = read_result(path)
    assert [row.what for row in after.rows] == ["pace", "bytes"]
    assert after.rows[1] == before.rows[1]
    assert after.protocol == "the protocol"
    assert [r.measured for r in after.rows[0].readings] == [3.0, 2.5]
    other = results.machine() | {"cpu": "another"}
    path = take(tmp_path, TIMES[2], 5.0, where=other, **facts)
    assert [row.what for row in read_result(path).rows] == ["pace", "pace", "bytes"]


def test_page_shows_each_reading_and_how_many_are_missing(tmp_path):
    take(tmp_path, TIMES[0], 3.0)
    take(tmp_path, TIMES[1], 2.5)
    result = read_result(tmp_path / "pace.json")
    english, chinese = (page.script_page(result, lang) for lang in ("en", "zh"))
    assert "readings: 3 (2026-11-24), 2.5 (2026-11-25T08:00)" in english
    assert "2 of the 3 readings that a speed row needs" in english
    assert "各次读数：3 (2026-11-24)" in chinese
    assert list(ledger(tmp_path).rows("C7")["readings"].dropna()) == [2]
    take(tmp_path, TIMES[2], 2.5)
    result = read_result(tmp_path / "pace.json")
    assert "of the 3 readings" not in page.script_page(result, "en")


@pytest.mark.parametrize(
    "damage",
    [
        {"time": "yesterday"},
        {"time": 3},
        {"measured": None},
        {"measured": float("inf")},
        {"low": "1"},
        {"time": ...},  # the field is missing
        {"machine": "another"},  # which the file does not describe
    ],
)
def test_damaged_reading_is_refused(tmp_path, damage):
    path = take(tmp_path, TIMES[0], 3.0)
    content = json.loads(path.read_text())
    reading = column(content)["readings"][0]
    reading |= damage
    column(content)["readings"][0] = {k: v for k, v in reading.items() if v != ...}
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match="row 0: reading 0"):
        read_result(path)


@pytest.mark.parametrize("readings", [[], {}, "three"])
def test_readings_are_a_list_of_some(tmp_path, readings):
    path = take(tmp_path, TIMES[0], 3.0)
    content = json.loads(path.read_text())
    column(content)["readings"] = readings
    path.write_text(json.dumps(content))
    with pytest.raises(DamagedFileError, match="'readings' is not a list"):
        read_result(path)


def test_a_speed_row_that_nothing_was_measured_for_has_no_reading(tmp_path):
    row = Row(**ROW, measured=None, note="needs a GPU").at(now())
    path = write_result("pace", [row], "run", directory=tmp_path)
    assert read_result(path).rows[0].verdict == "untestable here"
