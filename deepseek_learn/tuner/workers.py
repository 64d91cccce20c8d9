"""Detect trials whose worker has died, mark them as failed and requeue them.

A worker stores its identity in each of its trials: the machine, the boot, the process
and the start time of the process. Any worker on the same machine can use these to tell
whether the process is still running. This is impossible across machines, so a database
also uses Optuna's heartbeat (`storage.py`). A Journal file in a shared folder has no
heartbeat, so a lost trial is rescued only when a worker on the same machine starts up
or begins its next trial.
"""

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from .engine import optuna

# A configuration that kills its worker every time (for example, by running out of
# memory) must not be requeued forever.
TRIES = 3

State = optuna.trial.TrialState


def identity() -> dict[str, Any]:
    """Return the identity of this process, which `is_dead` can check later."""
    return {
        "host": socket.gethostname(),
        "machine": _read("/etc/machine-id"),
        "boot": _read("/proc/sys/kernel/random/boot_id"),
        "namespace": _namespace(),
        "pid": os.getpid(),
        "began": _start_time(os.getpid()),
    }


def is_dead(worker: dict[str, Any]) -> bool:
    """Return whether `worker` is known to have terminated.

    The result is False if this process cannot tell, for example because the worker runs
    on another machine.
    """
    current = identity()
    if any(worker.get(key) != current[key] for key in ("host", "machine")):
        return False
    if worker.get("boot") != current["boot"]:
        return True
    if worker.get("namespace") != current["namespace"]:
        return False  # the processes of another container are not visible
    start_time = _start_time(worker["pid"])
    return start_time is None or start_time != worker.get("began")


def rescue(study: "optuna.Study") -> list[int]:
    """Mark trials of dead workers as failed, requeue them, and return their numbers."""
    numbers = []
    for trial in study.get_trials(deepcopy=False, states=(State.RUNNING,)):
        worker = trial.user_attrs.get("worker")
        if worker and is_dead(worker) and fail(study, trial.number):
            requeue(study, trial)
            numbers.append(trial.number)
    return numbers


def fail(study: "optuna.Study", number: int) -> bool:
    """Mark a running trial as failed; return False if it has already finished."""
    try:
        study.tell(number, state=State.FAIL)
    except (ValueError, optuna.exceptions.UpdateFinishedTrialError):
        return False
    return True


def stop_own(study: "optuna.Study", numbers: Iterable[int]) -> None:
    """Mark this process's running trials as failed after Ctrl-C, and requeue them.

    Trials already marked as failed because of the interruption are requeued as well.

    Args:
        numbers: the numbers of the trials in the interrupted run.
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
    """Requeue the configuration of a trial, unless it has been lost `TRIES` times.

    Args:
        lost: whether the trial's worker died. A trial that was interrupted by Ctrl-C is
            not treated as lost.
    """
    tries = trial.user_attrs.get("tries", 1) + lost
    config = trial.system_attrs.get("fixed_params", {}) | trial.params
    if config and tries <= TRIES:
        first = trial.user_attrs.get("retry_of", trial.number)
        study.enqueue_trial(config, user_attrs={"tries": tries, "retry_of": first})


def tells(trial: Any) -> bool:
    """Return whether the outcome of a trial is informative about its configuration.

    The result is False if the trial's worker died, or if the trial was interrupted by
    Ctrl-C.
    """
    if trial.state != State.FAIL:
        return trial.state in (State.COMPLETE, State.PRUNED)
    if note := trial.user_attrs.get("failure"):
        return note["kind"] != "interrupted"
    # a worker that dies leaves no note
    return "worker" not in trial.user_attrs


def _start_time(pid: int) -> str | None:
    """Return the start time of a process, or None if the process has ended.

    The time is in clock ticks since boot. Without /proc, it is "" for a running
    process.
    """
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            # the process name, in parentheses, may contain spaces
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
