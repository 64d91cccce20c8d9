"""Files are written whole or not at all, and what a killed writer left is removed."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deepseek_learn import files
from deepseek_learn.files import atomic_write

KILLED = """
import os, signal
from deepseek_learn.files import atomic_write
with atomic_write("model.safetensors") as temporary:
    temporary.write_bytes(bytes(1000))
    temporary.with_name("another.tmp").write_bytes(bytes(1000))
    os.kill(os.getpid(), signal.SIGKILL)
"""
# as safetensors does, it writes another file and renames it
WAITING = """
import os, sys
from deepseek_learn.files import atomic_write
with atomic_write("model.safetensors") as temporary:
    other = temporary.with_name("another.tmp")
    other.write_text("half of the other process's")
    os.replace(other, temporary)
    print(temporary, flush=True)
    sys.stdin.read()
    temporary.write_text("the other process's")
"""


@pytest.fixture(autouse=True)
def as_in_a_new_process(monkeypatch):
    monkeypatch.setattr(files, "_searched", set())


def contents(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def crash():
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    assert path.read_text() == "old"
    with atomic_write(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_the_next_process_removes_what_a_killed_one_left(tmp_path):
    for _ in range(3):
        killed = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path)
        assert killed.returncode == -signal.SIGKILL
    (left,) = contents(tmp_path)  # the last one's: each removed its predecessor's
    assert left.startswith(".model.safetensors.")
    with atomic_write(tmp_path / "another.txt") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == ["another.txt"]


def test_what_another_process_is_writing_stays(tmp_path):
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    command = [sys.executable, "-c", WAITING]
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as other:
        temporary = tmp_path / other.stdout.readline().strip()
        with atomic_write(tmp_path / "another.txt") as mine:
            mine.write_text("new")
        assert temporary.exists()
        other.communicate("")
    assert (tmp_path / "model.safetensors").read_text() == "the other process's"
    assert contents(tmp_path) == ["another.txt", "model.safetensors"]


def test_a_hidden_file_of_the_users_stays(tmp_path):
    for name in (".model.safetensors.settings", ".a.partial", "a.12345678.partial"):
        (tmp_path / name).write_text("mine")
    before = contents(tmp_path)
    with atomic_write(tmp_path / "model.safetensors") as temporary:
        temporary.write_text("new")
    assert contents(tmp_path) == [*before, "model.safetensors"]


def test_a_temporary_folder_taken_for_a_leftover_is_created_again(
    tmp_path, monkeypatch
):
    """Between its creation and its lock, another process may remove it."""
    lock = files.fcntl.flock
    removed = []

    def too_late(descriptor, operation):
        lock(descriptor, operation)
        if not removed:
            removed.extend(tmp_path.iterdir())
            shutil.rmtree(removed[0])

    monkeypatch.setattr(files.fcntl, "flock", too_late)
    with atomic_write(tmp_path / "a.txt") as temporary:
        assert [temporary.parent] != removed
        temporary.write_text("new")
    assert contents(tmp_path) == ["a.txt"]


def test_the_descriptor_of_the_lock_is_closed(tmp_path):
    before = len(os.listdir("/dev/fd"))
    for _ in range(10):
        with atomic_write(tmp_path / "a.txt") as temporary:
            temporary.write_text("new")
    assert len(os.listdir("/dev/fd")) == before
