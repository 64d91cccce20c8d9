"""Rescue trials whose worker died: detect them, fail them and requeue them.

A worker records its identity in each of its trials: machine, boot, process, and the start
time of that process. Any worker on the same machine can tell from it whether the process
is still running. Across machines this is impossible, so a database also has Optuna's
heartbeat (`storage.py`); a Journal file in a shared folder has none: there, a trial is
rescued when a worker on the machine that lost it starts or begins its next trial.
"""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .engine import optuna

# A configuration that kills its worker each time (out of memory) must not come back
# forever.
TRIES = 3

State = optuna.trial.TrialState


def identity() -> dict[str, Any]:
    """Return the identity of this process, for `is_dead`."""
    return {
        "host": socket.gethostname(),
        "machine": _read("/etc/machine-id"),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "began": _start_time(os.getpid()),
    }


def is_dead(worker: dict[str, Any]) -> bool:
    """Return True if this process can be sure that `worker` is no longer running."""
    current = identity()
    if any(worker.get(key) != current[key] for key in ("host", "machine")):
        return False
    if worker.get("boot") != current["boot"]:
        return True
    if worker.get("namespace") != current["namespace"]:
        return False  # another container's processes are not visible
    start_time = _start_time(worker["pid"])
    return start_time is None or start_time != worker.get("began")


def rescue(study: "optuna.Study") -> list[int]:
    """Fail dead workers' trials and requeue them; return the trials' numbers."""
    numbers = []
    for trial in study.get_trials(deepcopy=False, states=(State.RUNNING,)):
        worker = trial.user_attrs.get("worker")
        if worker and is_dead(worker) and fail(study, trial.number):
            requeue(study, trial)
            numbers.append(trial.number)
    return numbers


def fail(study: "optuna.Study", number: int) -> bool:
    """Fail a running trial; return False if another worker was faster."""
    try:
        study.tell(number, state=State.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    return True


def stop_own(study: "optuna.Study", numbers: Iterable[int]) -> None:
    """Fail this process's running trials after Ctrl-C; requeue the interrupted ones.

    Args:
        numbers: the trials of the run that was interrupted.
    """
    worker, own_numbers = identity(), set(numbers)
    for trial in study.get_trials(deepcopy=False):
        running = (
            trial.state == State.RUNNING and trial.user_attrs.get("worker") == worker
        )
        note = trial.user_attrs.get("failure", {})
        if running:
            fail(study, trial.number)
        if running or (
            trial.number in own_numbers and note.get("kind") == "interrupted"
        ):
            requeue(study, trial, lost=False)


def requeue(study: "optuna.Study", trial: Any, lost: bool = True) -> None:
    """Requeue a trial's configuration, unless it was lost `TRIES` times.

    Args:
        lost: whether its worker died; Ctrl-C does not count.
    """
    tries = trial.user_attrs.get("tries", 1) + lost
    config = trial.system_attrs.get("fixed_params", {}) | trial.params
    if config and tries <= TRIES:
        first = trial.user_attrs.get("retry_of", trial.number)
        study.enqueue_trial(config, user_attrs={"tries": tries, "retry_of": first})


def tells(trial: Any) -> bool:
    """Return whether a trial's outcome says something about its configuration.

    It does not if the trial's worker died, or after Ctrl-C.
    """
    if trial.state != State.FAIL:
        return trial.state in (State.COMPLETE, State.PRUNED)
    if note := trial.user_attrs.get("failure"):
        return note["kind"] != "interrupted"
    return (
        "worker" not in trial.user_attrs
    )  # its worker died before it could leave a note


def _start_time(pid: int) -> str | None:
    """Return a process's start time, in clock ticks since boot; None if it has ended.

    Without /proc, return "" for a running process.
    """
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            # the name, in parentheses, may contain spaces
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
