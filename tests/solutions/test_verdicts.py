"""Verdicts survive a killed process: nothing half-written, lost or judged twice."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from deepseek_learn.solutions.verdicts import Verdicts, sha256


def verdict(number: int) -> dict:
    name = f"part {number}\n🔩.png"
    return {"name": name, "sha256": f"{number:064x}", "verdict": "good", "score": 0.5}


def test_verdicts_are_read_again(tmp_path):
    with Verdicts(tmp_path / "out" / "verdicts.jsonl") as first:
        for number in range(3):
            first.add(verdict(number))
    lines = first.path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [verdict(n) for n in range(3)]
    with Verdicts(first.path) as second:
        assert list(second) == [verdict(n) for n in range(3)]
        assert (verdict(1)["name"], verdict(1)["sha256"]) in second
        assert (verdict(1)["name"], "another content") not in second


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_an_incomplete_line_is_removed(tmp_path, cut):
    path = tmp_path / "verdicts.jsonl"
    with Verdicts(path) as verdicts:
        verdicts.add(verdict(0))
        verdicts.add(verdict(1))
    content = path.read_bytes()
    path.write_bytes(content[:-cut])
    with Verdicts(path) as verdicts:
        assert list(verdicts) == [verdict(0)]
        verdicts.add(verdict(1))
    assert path.read_bytes() == content


def test_what_is_not_a_verdict_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "verdicts.jsonl"
    whole = '{"name": 7, "sha256": "b", "verdict": "good"}\n'
    for line in (
        '{"name": "a"}\n',
        '{"name": "a", "sha256": "b"}\n',
        "[1, 2]\n",
        whole,
        "[" * 100_000 + "\n",
    ):
        path.write_text(line)
        message = "line 1 is not a verdict; move the file away"
        with pytest.raises(ValueError, match=message):
            Verdicts(path).__enter__()
        assert path.read_text() == line


def test_a_deleted_file_is_noticed(tmp_path):
    with Verdicts(tmp_path / "v.jsonl") as verdicts:
        verdicts.add(verdict(0))
        verdicts.path.unlink()
        with pytest.raises(OSError, match="was deleted while"):
            verdicts.add(verdict(1))


def test_a_second_writer_is_refused(tmp_path):
    with (
        Verdicts(tmp_path / "v.jsonl"),
        pytest.raises(FileExistsError, match="being written by another process"),
        Verdicts(tmp_path / "v.jsonl"),
    ):
        pass
    with Verdicts(tmp_path / "v.jsonl") as free:
        assert not len(free)


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    real = os.write
    with Verdicts(tmp_path / "v.jsonl") as verdicts:
        verdicts.add(verdict(0))
        monkeypatch.setattr(os, "write", lambda file, line: real(file, line[:20]))
        with pytest.raises(OSError, match="disk is full"):
            verdicts.add(verdict(1))
        monkeypatch.undo()
        assert len(verdicts) == 1
        verdicts.add(verdict(1))
    with Verdicts(tmp_path / "v.jsonl") as again:
        assert list(again) == [verdict(0), verdict(1)]


WRITER = """
import sys
from deepseek_learn.solutions.verdicts import Verdicts
with Verdicts(sys.argv[1]) as verdicts:
    print("ready", flush=True)
    for number in range(len(verdicts), 1_000_000):
        name = f"part {number}"
        facts = {"sha256": str(number), "verdict": "good", "note": "x" * 3000}
        verdicts.add({"name": name} | facts)
"""


@pytest.mark.slow
def test_a_writer_killed_at_random_moments_loses_and_repeats_nothing(tmp_path):
    path = tmp_path / "v.jsonl"
    for moment in range(5):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE
        )
        writer.stdout.readline()
        time.sleep(0.01 + 0.037 * moment)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    with Verdicts(path) as verdicts:
        names = [each["name"] for each in verdicts]
    assert names == [f"part {number}" for number in range(len(names))]
    assert len(names) > 5


def test_the_checksum_is_of_the_content():
    assert sha256(b"abc").startswith("ba7816bf8f01cfea")


def test_what_has_changed_back_has_no_verdict(tmp_path):
    a, b = verdict(1), verdict(1) | {"sha256": f"{2:064x}"}
    with Verdicts(tmp_path / "v.jsonl") as verdicts:
        for each in (a, verdict(0), b):
            verdicts.add(each)
        assert (a["name"], a["sha256"]) not in verdicts
        assert (b["name"], b["sha256"]) in verdicts
        assert verdicts.latest() == [verdict(0), b]  # in the order of the verdicts
        verdicts.add(a)
        assert len(verdicts) == 4
    with Verdicts(verdicts.path) as again:
        assert again.latest() == [verdict(0), a]
