"""Atomic writes, one writer at a time, and nothing of a killed writer remains."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from deepseek_learn.deploy.folder import exclusive_folder

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")

WRITER = """
import sys
from deepseek_learn.deploy.folder import exclusive_folder
with exclusive_folder(sys.argv[1]) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def writer(tmp_path):
    """Another process in the middle of writing `tmp_path/out`."""
    command = [sys.executable, "-c", WRITER, str(tmp_path / "out")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "writing\n"
        yield process
        process.kill()


def write(out, text="mine"):
    with exclusive_folder(out) as folder:
        (folder / "file").write_text(text)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_second_writer_is_refused_and_the_first_goes_on(tmp_path, writer):
    out = tmp_path / "out"
    with pytest.raises(
        FileExistsError, match="out is being written by another process"
    ):
        write(out)
    write(tmp_path / "elsewhere")  # a sibling folder is not locked
    writer.communicate()
    assert names(tmp_path) == ["elsewhere", "out"]
    assert (out / "half").read_text() == "half"


def test_what_a_killed_writer_left_is_removed_by_the_next(tmp_path, writer):
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert names(tmp_path) == [".out.building"]
    write(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    assert names(tmp_path / "out") == ["file"]


def test_a_second_thread_is_refused_too(tmp_path):
    refused = []

    def second():
        try:
            write(tmp_path / "out", "second")
        except FileExistsError as error:
            refused.append(error)

    with exclusive_folder(tmp_path / "out"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1
    write(tmp_path / "out")  # the lock is free again
    assert (tmp_path / "out" / "file").read_text() == "mine"


def test_two_writers_in_turn_never_touch_each_others_folder(tmp_path):
    """While one writer renames, the next may already start: never a mixture."""
    out, failures = tmp_path / "out", []

    def many(name):
        for number in range(60):
            try:
                with exclusive_folder(out) as folder:
                    for part in "abc":
                        (folder / part).write_text(f"{name}{number}")
            except FileExistsError:
                continue
            except BaseException as error:
                failures.append(error)

    threads = [threading.Thread(target=many, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert names(tmp_path) == ["out"]
    assert len({(out / part).read_text() for part in "abc"}) == 1


def test_an_exception_leaves_what_was_there(tmp_path):
    write(tmp_path / "out", "first")
    with pytest.raises(TypeError, match="must be str"):
        write(tmp_path / "out", 2)
    assert (tmp_path / "out" / "file").read_text() == "first"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("renamed", [False, True])
def test_killed_between_the_two_renames(tmp_path, renamed):
    """The previous folder is restored, or removed if the new one is in place."""
    write(tmp_path / "out", "first")
    os.replace(tmp_path / "out", tmp_path / ".out.before")
    if renamed:
        write(tmp_path / "elsewhere", "second")
        os.replace(tmp_path / "elsewhere", tmp_path / "out")
    with pytest.raises(TypeError, match="must be str"):
        write(tmp_path / "out", 2)
    assert (tmp_path / "out" / "file").read_text() == ("second" if renamed else "first")
    assert names(tmp_path) == ["out"]
