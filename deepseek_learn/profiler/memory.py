"""Activation memory: which tensors live when, and the allocator's own high-water mark.

Two readings, since neither is enough: storages, followed from birth to death, tell
whose memory it is; the allocator's events tell the true peak, in which the scratch
memory of kernels (a convolution's workspace) stands too. The difference is workspace.
Weights, buffers and inputs, there before the pass, are not activations. Memory that a
kernel asks for and never touches (oneDNN's recurrent layers do) stands in the peak,
though the operating system need not provide it.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
import torch
from torch.autograd import profiler as autograd_profiler

from .recorder import Allocation, Operator

MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """The memory of one pass, in MiB above what was there before it.

    Attributes:
        peak_mib: the allocator's high-water mark.
        tensors_mib: the most that tensors take at one time.
        workspace_mib: how much more the allocator gave: kernels' scratch memory.
        at: the operator at which tensors take the most, and its module.
        timeline: a row an operator: `live_mib` after it, its `layer`.
        alive: layer → MiB of its tensors alive at that moment.
    """

    peak_mib: float
    tensors_mib: float
    workspace_mib: float
    at: str
    timeline: pd.DataFrame
    alive: dict[str, float]


def live(operators: list[Operator], allocations: list[Allocation], peak: int) -> Memory:
    """What the allocations of a counting pass, and the allocator's `peak`, amount to."""
    births = {a.storage: a for a in allocations if a.size > 0}
    living: dict[int, int] = {}
    now = most = index = 0
    at_peak: dict[int, int] = {}
    levels: dict[int, int] = {}  # operator → the level after it; others change nothing
    for change in allocations:
        now += change.size
        if change.size > 0:
            living[change.storage] = change.size
        else:
            del living[change.storage]
        if now > most:
            most, index, at_peak = now, change.index, dict(living)
        levels[change.index] = now
    timeline = pd.Series(levels, dtype=float).reindex(range(len(operators)))
    alive: dict[str, float] = {}
    for storage, size in at_peak.items():
        path = births[storage].path
        alive[path] = alive.get(path, 0) + size / MIB
    culprit = operators[min(index, len(operators) - 1)] if operators else None
    frame = pd.DataFrame(
        {
            "operator": pd.Series([o.name for o in operators], dtype=str),
            "layer": pd.Series([o.path for o in operators], dtype=str),
            "phase": pd.Series([o.phase for o in operators], dtype=str),
            "live_mib": timeline.ffill().fillna(0) / MIB,
        }
    )
    return Memory(
        peak_mib=max(peak, most) / MIB,
        tensors_mib=most / MIB,
        workspace_mib=max(peak - most, 0) / MIB,
        at=f"{culprit.path or '(model)'}: {culprit.name}" if culprit else "",
        timeline=frame,
        alive=dict(sorted(alive.items(), key=lambda item: -item[1])),
    )


def peak_bytes(run: Callable[[], object], device: torch.device) -> int:
    """How far above its start the allocator goes while `run()` runs, in bytes."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    # PyTorch 2.13 writes "profiler_start" to the terminal under level 6; it reads the
    # level when the process first profiles
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with autograd_profiler.profile(use_kineto=False, profile_memory=True) as trace:
        run()
    changes = [
        (event.start_ns(), event.nbytes())
        for event in trace.kineto_results.events()
        if event.name() == "[memory]"
    ]
    now = most = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        now += size
        most = max(most, now)
    return most
