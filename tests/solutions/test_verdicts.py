"""Verdicts survive a killed process: nothing half-written, lost, judged twice or mixed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from datetime import date
from functools import partial

import pytest
import torch
from torch import nn

from deepseek_learn import __version__, dpg
from deepseek_learn.solutions import verdicts as module
from deepseek_learn.solutions.page import save_page
from deepseek_learn.solutions.verdicts import (
    Provenance,
    checksum,
    read_verdicts,
    sha256,
)

OURS = Provenance("abc", {"tilt": "refuse", "rate": 0.8})
Verdicts = partial(module.Verdicts, provenance=OURS)


def verdict(number: int) -> dict:
    name = f"part {number}\n🔩.png"
    return {"name": name, "sha256": f"{number:064x}", "verdict": "good", "score": 0.5}


def plain(verdicts) -> list[dict]:
    """Verdicts without their provenance."""
    return [{k: v for k, v in each.items() if k != "provenance"} for each in verdicts]


def test_verdicts_are_read_again(tmp_path):
    with Verdicts(tmp_path / "out" / "verdicts.jsonl") as first:
        for number in range(3):
            first.add(verdict(number))
    lines = first.path.read_text().splitlines()
    assert plain(map(json.loads, lines)) == [verdict(n) for n in range(3)]
    with Verdicts(first.path) as second:
        assert plain(second) == [verdict(n) for n in range(3)]
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
        assert plain(verdicts) == [verdict(0)]
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
        assert plain(again) == [verdict(0), verdict(1)]


WRITER = """
import sys
from deepseek_learn.solutions.verdicts import Provenance, Verdicts
with Verdicts(sys.argv[1], Provenance("abc", {"tilt": "refuse", "rate": 0.8})) as verdicts:
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
        assert plain(verdicts.latest()) == [verdict(0), b]  # in their order
        verdicts.add(a)
        assert len(verdicts) == 4
    with Verdicts(verdicts.path) as again:
        assert plain(again.latest()) == [verdict(0), a]


def test_a_line_names_version_model_options_and_date(tmp_path):
    with Verdicts(tmp_path / "v.jsonl") as verdicts:
        verdicts.add(verdict(0))
    (line,) = read_verdicts(tmp_path / "v.jsonl")
    assert line["provenance"] == {
        "schema": 2,
        "version": __version__,
        "model": "abc",
        "options": {"rate": 0.8, "tilt": "refuse"},
        "date": date.today().isoformat(),
    }


@pytest.mark.parametrize(
    ("other", "change"),
    [
        (Provenance("abc", {"tilt": "resample", "rate": 0.8}), r"tilt (refuse → resample)"),
        (Provenance("abc", {"tilt": "refuse", "rate": 1}), "rate (0.8 → 1)"),
        (Provenance("abc", {"tilt": "refuse"}), "rate (0.8 → ?)"),
        (Provenance("0123456789abcdef", OURS.options), "model (abc → 0123456789ab)"),
        (Provenance("abc", OURS.options, "99.0"), f"version ({__version__} → 99.0)"),
    ],
)  # fmt: skip
def test_another_provenance_sets_all_verdicts_aside(tmp_path, other, change):
    path = tmp_path / "v.jsonl"
    with Verdicts(path) as verdicts:
        for number in (0, 1, 0):
            verdicts.add(verdict(number))
    said = re.escape(f"2 earlier verdict(s) are set aside, and everything is judged again, "
                     f"because something has changed since: {change}.")  # fmt: skip
    with ExitStack() as stack:
        with pytest.warns(UserWarning, match=said):
            again = stack.enter_context(module.Verdicts(path, other))
        assert not len(again)
        assert not again.latest()
        assert (verdict(0)["name"], verdict(0)["sha256"]) not in again
        again.add(verdict(0))
    with module.Verdicts(path, other) as resumed:  # without another warning
        assert plain(resumed.latest()) == [verdict(0)]
    with pytest.warns(UserWarning, match="2 earlier verdict"), Verdicts(path) as back:
        assert not len(back)
    assert len(read_verdicts(path)) == 4  # none is deleted


def test_lines_without_a_provenance_are_set_aside(tmp_path):
    path = tmp_path / "v.jsonl"
    path.write_text("".join(json.dumps(verdict(n)) + "\n" for n in range(3)))
    with pytest.warns(UserWarning, match=rf"3 .* version \(\? → {__version__}\)\."):
        Verdicts(path).__enter__().__exit__(None, None, None)


def test_an_option_that_is_not_set_is_the_same_as_none():
    one, other = Provenance("a", {"rate": None, "columns": {}}), Provenance("a", {})
    assert one.to_dict() == other.to_dict()
    assert Provenance("a", {"words": False}).to_dict() != other.to_dict()


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.layer, self.norm = nn.Linear(64, 32), nn.BatchNorm1d(32)
        self.register_buffer("scale", torch.ones(2), persistent=False)

    def forward(self, x):
        return self.norm(self.layer(x))


def test_a_checksum_is_of_the_weights_in_use(tmp_path):
    model, same = Net(), Net()
    own = checksum(model)
    assert own == checksum(same)
    assert len(own) == 64
    others = [
        Net(1),
        Net().half(),
        nn.Sequential(Net()),
        dpg.compress(Net(), [torch.rand(8, 64)], bits=4).model,
    ]
    for name in ("layer.weight", "norm.running_mean", "scale"):
        changed = Net()
        tensor = dict(changed.named_parameters()) | dict(changed.named_buffers())
        with torch.no_grad():
            tensor[name].view(-1)[-1] += 1e-3
        others.append(changed)
    assert len({own, *map(checksum, others)}) == 1 + len(others)
    torch.save(model.state_dict(), tmp_path / "own.pt")
    trained = Net(1)
    trained.load_state_dict(torch.load(tmp_path / "own.pt"))
    assert checksum(trained) == own  # wherever the weights came from
    assert checksum(model, trained) != own
    assert checksum(len) != checksum(max)


def test_a_page_names_version_model_options_and_dates(tmp_path):
    lines = [OURS.stamp(verdict(number)) for number in range(2)]
    lines[0]["provenance"]["date"] = "2025-12-31"
    lines[1]["provenance"]["date"] = "2026-01-01"
    page = save_page(tmp_path, "Title", "<p>body</p>", "", lines).read_text()
    assert "rate = 0.8, tilt = refuse" in page
    assert "2025-12-31 – 2026-01-01" in page
    assert f"deepseek_learn {__version__}. Model: abc" in page
    assert "<footer>" not in save_page(tmp_path, "Title", "", "", []).read_text()
