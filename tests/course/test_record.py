"""Progress is written atomically, merged without loss, and never breaks a check."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from deepseek_learn import __version__, course, files
from deepseek_learn.course import problems, record
from deepseek_learn.course.problem import define
from deepseek_learn.errors import DamagedFileError

ID = "shift_sum"
RIGHT = problems.get(ID).solution
VERSION = problems.get(ID).version
WRONG = problems.get(ID).wrong["added without shifting"]


def answer(source):
    return course.check(ID, define(source, ID))


def kept(home):
    return json.loads((home / "progress.json").read_text())["records"]


def test_record_holds_what_repeats_a_grade(own_home):
    outcome = answer(RIGHT)
    (row,) = kept(own_home)
    assert row["time"].endswith("+00:00")
    del row["time"]
    assert len(row.pop("code")) == 64
    assert row == {
        "problem": ID,
        "version": VERSION,
        "status": "passed",
        "seed": outcome.seed,
        "library": __version__,
    }


def test_a_later_failure_does_not_take_a_pass_away(own_home):
    answer(RIGHT)
    answer(WRONG)
    shown = course.progress()
    assert shown.passed == [ID]
    assert shown.to_frame().loc[ID, "points"] == 2


def test_many_attempts_do_not_pile_up(own_home):
    for _ in range(5):
        answer(WRONG)
        answer(RIGHT)
    assert sorted(row["status"] for row in kept(own_home)) == ["failed", "passed"]


def test_many_right_answers_do_not_pile_up_either(own_home):
    answer(RIGHT)
    (first,) = kept(own_home)
    for number in range(3):
        assert answer(RIGHT.replace("    return", f"    {number}\n    return")).passed
    assert kept(own_home) == [first]


def test_size_is_bounded_and_what_goes_first_is_foreign(own_home):
    answer(RIGHT)
    own = kept(own_home)[0]
    row = {"version": 1, "seed": 2**31, "library": "L" * 200, "code": "c" * 200}
    row |= {"time": "9999" + "😀" * 196, "more": "m" * 10_000}
    foreign = [
        row | {"problem": f"p{number}", "status": status}
        for number in range(3 * record.MOST)
        for status in ("failed", "passed")
    ]
    record._add(foreign)
    rows = kept(own_home)
    assert len(rows) == record.MOST
    assert own in rows
    assert {r["status"] for r in rows} == {"passed"}
    longest = len(record.FIELDS) * (12 * record.LONGEST + 40)  # 12 bytes per character
    assert (own_home / "progress.json").stat().st_size < record.MOST * longest


def test_characters_that_no_file_can_hold_do_no_harm(own_home, tmp_path):
    (tmp_path / "odd.json").write_text(a_file({"library": "\ud800"}))
    assert course.progress(import_=tmp_path / "odd.json").passed == [ID]
    answer(WRONG)
    assert len(kept(own_home)) == 2


def test_pass_of_an_older_version_does_not_count(own_home):
    own_home.mkdir()
    (own_home / "progress.json").write_text(a_file())
    assert course.progress().passed == [ID]
    (own_home / "progress.json").write_text(a_file({"version": VERSION - 1}))
    assert course.progress().passed == []


def test_export_and_import_lose_no_pass(own_home, tmp_path, monkeypatch):
    answer(RIGHT)
    course.progress(export=tmp_path / "mine.json")
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "colab"))
    other = problems.get("match_the_scale")
    course.check(other.id, define(other.solution, other.answer))
    answer(WRONG)
    merged = course.progress(import_=tmp_path / "mine.json")
    assert merged.passed == [ID, other.id]
    again = course.progress(import_=tmp_path / "mine.json")
    assert again.records == merged.records


def a_file(record=None, **changes) -> str:
    """A progress file with one pass, some of the record's or the file's values changed."""
    row = {
        "problem": ID,
        "version": VERSION,
        "status": "passed",
        "seed": 0,
        "code": None,
    }
    row |= {"library": "0", "time": "2026-01-01T00:00:00+00:00"} | (record or {})
    return json.dumps({"format": 1, "records": [row]} | changes)


NOT_PROGRESS = ["{", "[]", '{"records": 3}', '{"records": [{"problem": "x"}]}', "3", ""]
NOT_PROGRESS += ["[" * 100_000, '{"format":' * 100_000]
NOT_PROGRESS += [a_file(format=wrong) for wrong in (0, -1, "1", None, [1])]
NOT_PROGRESS += [a_file(records=wrong) for wrong in ("", {}, None, [[]])]
NOT_PROGRESS += [
    a_file({"code": [1]}),  # a key that can't be hashed
    a_file({"problem": "x" * 201}),
    a_file({"seed": 10**300}),
]
NAMES = [f"{number}: {content[:30]}" for number, content in enumerate(NOT_PROGRESS)]


@pytest.mark.parametrize("content", NOT_PROGRESS, ids=NAMES)
def test_import_of_something_else_is_refused_and_changes_nothing(
    own_home, tmp_path, content
):
    answer(RIGHT)
    before = kept(own_home)
    (tmp_path / "bad.json").write_text(content)
    with pytest.raises(DamagedFileError, match=r"bad\.json is not a progress file"):
        course.progress(import_=tmp_path / "bad.json")
    assert kept(own_home) == before


def test_import_of_a_file_that_is_not_there_says_so(own_home, tmp_path):
    with pytest.raises(
        FileNotFoundError, match=r"import_ must name .* no .*none\.json"
    ):
        course.progress(import_=tmp_path / "none.json")


def test_import_of_a_folder_is_one_sentence(tmp_path):
    with pytest.raises(
        IsADirectoryError, match=r"^import_ must name .* is a folder\.$"
    ):
        course.progress(import_=tmp_path)


def test_export_to_a_folder_is_one_sentence_and_imports_nothing(own_home, tmp_path):
    answer(RIGHT)
    course.progress(export=tmp_path / "mine.json")
    (own_home / "progress.json").unlink()
    with pytest.raises(
        IsADirectoryError, match=r"^export must name a file.* a folder\.$"
    ):
        course.progress(import_=tmp_path / "mine.json", export=tmp_path)
    assert not (own_home / "progress.json").exists()


def test_import_into_a_home_that_cannot_be_written(tmp_path, monkeypatch):
    answer(RIGHT)
    course.progress(export=tmp_path / "mine.json")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(
        NotADirectoryError,
        match=r"^import_=.*mine\.json could not .*file/home is not writable \(",
    ):
        course.progress(import_=tmp_path / "mine.json")
    assert course.progress().passed == []


def test_export_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "a.json", tmp_path / "file" / "b" / "a.json"):
        with pytest.raises(OSError, match=r"^export must .*a\.json cannot \("):
            course.progress(export=place)


def test_import_below_a_file_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileNotFoundError, match=r"^import_ must .*a\.json\.$"):
        course.progress(import_=tmp_path / "file" / "a.json")


@pytest.mark.parametrize("content", NOT_PROGRESS, ids=NAMES)
def test_damaged_progress_is_kept_and_checks_still_answer(own_home, content):
    own_home.mkdir()
    (own_home / "progress.json").write_text(content)
    first, second = answer(RIGHT), answer(RIGHT)
    assert first.passed
    assert "not a progress file" in first.note
    assert "not a progress file" in first._repr_html_()
    assert (second.passed, second.note) == (True, "")
    assert (own_home / "progress.json").read_text() == content
    with pytest.raises(DamagedFileError):
        course.progress()


@pytest.mark.parametrize("content", [a_file(format=3), '{"format": 3, "rows": []}'])
def test_a_newer_format_is_refused_and_left_untouched(own_home, tmp_path, content):
    own_home.mkdir()
    (own_home / "progress.json").write_text(content)
    outcome = answer(RIGHT)
    assert outcome.passed
    assert "newer version of this course" in outcome.note
    assert (own_home / "progress.json").read_text() == content
    with pytest.raises(DamagedFileError, match=r"format \d; this version reads 2"):
        course.progress(import_=own_home / "progress.json")
    assert (own_home / "progress.json").read_text() == content


def test_a_read_only_file_is_said_and_left_untouched(own_home):
    answer(WRONG)
    file = own_home / "progress.json"
    before = file.read_text()
    file.chmod(0o444)  # root could write it anyway, and must not
    outcome = answer(RIGHT)
    assert outcome.passed
    assert "could not be recorded" in outcome.note
    assert "Permission denied" in outcome.note
    assert file.read_text() == before
    assert file.stat().st_mode & 0o777 == 0o444
    assert course.progress().passed == []


def test_home_that_cannot_be_written_is_said_once(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")  # a folder below a file fails for root, too
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "file" / "home"))
    first, second = answer(RIGHT), answer(RIGHT)
    assert first.passed
    assert "could not be recorded" in first.note
    assert (second.passed, second.note) == (True, "")


def test_read_only_home_is_said(own_home, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.tempfile, "mkdtemp", refuse)
    outcome = answer(RIGHT)
    assert outcome.passed
    assert "Permission denied" in outcome.note


def test_crash_in_the_middle_of_writing_leaves_the_old_file(own_home, monkeypatch):
    answer(RIGHT)
    before = (own_home / "progress.json").read_text()
    code = """
import os, pathlib
from deepseek_learn.course import record
def die(self, content, **options):
    with self.open("w") as file:
        file.write(content[: len(content) // 2])
        file.flush()
    os._exit(9)
pathlib.Path.write_text = die
record._add([{"problem": "x", "version": 1, "status": "passed", "seed": 0,
              "library": "0", "time": "2000"}])
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 9
    assert (own_home / "progress.json").read_text() == before
    assert len(list(own_home.glob(".progress.json.*"))) == 1  # its temporary file
    monkeypatch.setattr(files, "_searched", set())  # as in the next process
    answer(WRONG)
    assert len(kept(own_home)) == 2
    assert list(own_home.glob(".*")) == []


def test_no_flipped_bit_changes_a_record(own_home):
    answer(RIGHT)
    answer(WRONG)
    file = own_home / "progress.json"
    whole = file.read_bytes()
    records = record.read()
    unnoticed = []
    for bit in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        file.write_bytes(flipped)
        with suppress(DamagedFileError):
            if record.read() != records:
                unnoticed.append(bit)
    assert not unnoticed


def test_a_file_without_a_checksum_is_read_and_gets_one(own_home):
    own_home.mkdir()
    file = own_home / "progress.json"
    file.write_text(a_file())
    assert [row["problem"] for row in record.read()] == [ID]
    answer(WRONG)
    content = json.loads(file.read_text())
    assert content["format"] == 2
    assert len(content["sha256"]) == 64
    assert len(record.read()) == 2


def test_two_notebooks_at_once_lose_nothing(own_home):
    base = {
        "version": VERSION,
        "status": "passed",
        "seed": 0,
        "library": "0",
        "time": "2000",
    }
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: record._add([base | {"problem": f"p{i}"}]), range(40)))
    assert {row["problem"] for row in kept(own_home)} == {f"p{i}" for i in range(40)}


def test_being_graded_leaves_no_record(own_home, monkeypatch):
    monkeypatch.setenv("NBGRADER_EXECUTION", "autograde")
    assert answer(RIGHT).passed
    assert not own_home.exists()


def test_without_the_variable_it_is_the_users_folder(monkeypatch):
    monkeypatch.delenv("DEEPSEEK_LEARN_HOME")
    assert record.home().name == "deepseek_learn"
