"""The training loop in real processes: killed and restarted, and two together."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from deepseek_learn.training.processes import ProcessGroup

from .training_run import network

pytestmark = [pytest.mark.service, pytest.mark.in_turn]

RUN = [str(Path(__file__).with_name("training_run.py"))]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]


def finish(folder: Path, *arguments: str, torchrun: bool = False) -> list[dict]:
    """Run to the end; returns the final state of each process.

    With "--pair", two processes run as under torchrun, but start in half the time.
    """
    folder.mkdir(exist_ok=True)
    launcher = TORCHRUN if torchrun else []
    program = [sys.executable, *launcher, *RUN, str(folder), *arguments]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return [torch.load(path) for path in sorted(folder.glob("end_*.pt"))]


def equal(one: dict, other: dict) -> bool:
    same = (torch.equal(v, other["weights"][k]) for k, v in one["weights"].items())
    return all(same) and one["loss"] == other["loss"]


@pytest.fixture(scope="module")
def together(tmp_path_factory):
    """The final states of two processes that trained together without incident."""
    return finish(tmp_path_factory.mktemp("together") / "plain", torchrun=True)


@pytest.fixture(scope="module")
def apart(tmp_path_factory):
    """The folder and final states of a pair as on two machines with separate disks."""
    folder = tmp_path_factory.mktemp("apart")
    return folder, finish(folder, "--norm", "--apart", "--pair")


@pytest.mark.parametrize("pair", [False, True])
def test_a_killed_run_ends_as_the_uninterrupted_one(tmp_path, pair, request):
    """SIGKILL after the first checkpoint, with DeepOpt, its schedule and bfloat16."""
    if pair:
        _, whole = request.getfixturevalue("apart")
    else:
        whole = finish(tmp_path / "whole", "--norm")
    folder = tmp_path / "killed"
    folder.mkdir()
    launcher = TORCHRUN if pair else []
    program = [sys.executable, *launcher, *RUN, str(folder), "--norm"]
    run = subprocess.Popen(
        [*program, "--wait", "0.1"],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 120
    while not (folder / "run.checkpoint").exists():
        assert run.poll() is None
        assert time.monotonic() < limit
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGKILL)
    for file in folder.glob("process_*"):  # torchrun's workers outlive it
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(file.read_text()), signal.SIGKILL)
    run.wait()
    assert not list(folder.glob("end_*.pt"))
    kept = torch.load(folder / "run.checkpoint", weights_only=True)
    assert len(kept["history"]) < 5
    again = finish(folder, "--norm", *["--pair"] * pair)
    assert len(again) == len(whole) == 1 + pair
    assert all(equal(a, b) for a, b in zip(whole, again, strict=True))


def test_two_processes_agree_and_do_as_one_does(tmp_path, together):
    (alone,) = finish(tmp_path / "one")
    first, second = together
    assert equal(first, second)
    # the same batches, but gradients summed in another order, and bfloat16
    assert first["loss"] == pytest.approx(alone["loss"], rel=0.02)


def test_two_trainings_follow_each_other_in_one_program(tmp_path, together):
    first, second = finish(tmp_path / "two", "--twice", "--pair")
    assert equal(first, second)
    assert equal(first, together[0])


def test_the_first_processs_checkpoint_is_everyones(apart):
    """As on machines with separate disks: only the first has written a checkpoint."""
    folder, whole = apart
    assert not (folder / "1" / "run.checkpoint").exists()
    for path in folder.glob("end_*.pt"):
        path.unlink()
    again = finish(folder, "--norm", "--apart", "--pair")  # resuming a finished run
    assert all(equal(a, b) for a, b in zip(whole, again, strict=True))


def test_a_batch_that_cannot_be_divided_is_refused():
    team = ProcessGroup(network())
    team.size = 2
    with pytest.raises(ValueError, match=r"number of processes \(2\); got 15"):
        team.check(15)
