"""Trials whose worker died: found, failed, and their configurations queued again.

A worker notes in each of its trials who it is: machine, boot, process, and when that
process began. Any worker on the same machine can tell from it whether the process still
runs. Between machines nobody can, so a database has Optuna's heartbeat besides
(`storage.py`); a Journal file on a shared folder has not: there a trial is rescued when
a worker starts or goes on on the machine that lost it.
"""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .engine import optuna

# A configuration that kills its worker each time (out of memory) must not come back
# for ever.
TRIES = 3

State = optuna.trial.TrialState


def identity() -> dict[str, Any]:
    """Who this process is, for `is_dead`."""
    return {
        "host": socket.gethostname(),
        "machine": _read("/etc/machine-id"),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "began": _began(os.getpid()),
    }


def is_dead(worker: dict[str, Any]) -> bool:
    """True when this process can be sure that `worker` runs no more."""
    here = identity()
    if any(worker.get(key) != here[key] for key in ("host", "machine")):
        return False
    if worker.get("boot") != here["boot"]:
        return True
    if worker.get("namespace") != here["namespace"]:
        return False  # a container's processes are not ours to see
    began = _began(worker["pid"])
    return began is None or began != worker.get("began")


def rescue(study: "optuna.Study") -> list[int]:
    """Fail the dead workers' trials, queue their configurations; the trials' numbers."""
    rescued = []
    for trial in study.get_trials(deepcopy=False, states=(State.RUNNING,)):
        worker = trial.user_attrs.get("worker")
        if worker and is_dead(worker) and fail(study, trial.number):
            requeue(study, trial)
            rescued.append(trial.number)
    return rescued


def fail(study: "optuna.Study", number: int) -> bool:
    """Fail a running trial; False when another worker was quicker."""
    try:
        study.tell(number, state=State.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    return True


def stop_own(study: "optuna.Study", numbers: Iterable[int]) -> None:
    """After Ctrl-C: fail what this process left running, queue what was interrupted.

    Args:
        numbers: the trials of the run that was interrupted.
    """
    me, mine = identity(), set(numbers)
    for trial in study.get_trials(deepcopy=False):
        running = trial.state == State.RUNNING and trial.user_attrs.get("worker") == me
        note = trial.user_attrs.get("failure", {})
        if running:
            fail(study, trial.number)
        if running or (trial.number in mine and note.get("kind") == "interrupted"):
            requeue(study, trial, lost=False)


def requeue(study: "optuna.Study", trial: Any, lost: bool = True) -> None:
    """Queue a trial's configuration again, unless it was lost `TRIES` times.

    Args:
        lost: whether its worker died; Ctrl-C does not count.
    """
    tries = trial.user_attrs.get("tries", 1) + lost
    config = trial.system_attrs.get("fixed_params", {}) | trial.params
    if config and tries <= TRIES:
        first = trial.user_attrs.get("retry_of", trial.number)
        study.enqueue_trial(config, user_attrs={"tries": tries, "retry_of": first})


def tells(trial: Any) -> bool:
    """Whether a trial's end says anything of its configuration, as far as anybody knows.

    Not when its worker died, or Ctrl-C came.
    """
    if trial.state != State.FAIL:
        return trial.state in (State.COMPLETE, State.PRUNED)
    if note := trial.user_attrs.get("failure"):
        return note["kind"] != "interrupted"
    return "worker" not in trial.user_attrs  # its worker ended before it could say


def _began(pid: int) -> str | None:
    """When a process began, in clock ticks since boot; None when it does not run.

    Without /proc: "" for one that runs.
    """
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            # the name, in brackets, may hold blanks
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return None if fields[0] in "ZX" else fields[19]
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return ""


def _namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""
