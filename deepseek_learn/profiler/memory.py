"""Measure the activation memory of a pass from live tensors and allocator events.

Two measurements are combined. Tracking every storage from its allocation to its release
shows which layer owns the memory. The allocator events give the true peak, which also
includes scratch memory such as the workspace of a convolution. The difference between
the two peaks is reported as workspace.

Weights, buffers and inputs exist before the pass and are not counted as activations.
Memory that a kernel allocates but never touches counts toward the peak, although the
operating system may never have to provide it. The recurrent layers in oneDNN are an
example.
"""

from dataclasses import dataclass

import pandas as pd

from .recorder import AllocatorEvent, Operator

MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """The memory used by one pass, in MiB above the level before the pass.

    Attributes:
        peak_mib: the peak reported by the allocator.
        tensors_mib: the peak size of the live tensors.
        workspace_mib: the difference between these two peaks, which is scratch memory
            used by kernels.
        at: the operator at which the total size of the live tensors peaks, along with
            its module.
        timeline: a table with one row per operator. The column `live_mib` is the size
            of the live tensors after the operator.
        alive: how much of `tensors_mib` belongs to each layer, in MiB, keyed by path.

    >>> import torch
    >>> from deepseek_learn import profiler
    >>> net, x = torch.nn.Linear(64, 8), torch.rand(8, 64)
    >>> profile = profiler.profile(net, x, progress=False)
    >>> profile.memory.peak_mib > 0
    True
    """

    peak_mib: float
    tensors_mib: float
    workspace_mib: float
    at: str
    timeline: pd.DataFrame
    alive: dict[str, float]


def live(operators: list[Operator], events: list[AllocatorEvent], peak: int) -> Memory:
    """Compute the memory used by a pass from its events and the allocator's peak.

    Args:
        operators: the operators of the pass, in call order.
        events: the storages that were allocated and freed, in order.
        peak: the peak reported by the allocator, in bytes.
    """
    births = {a.storage: a for a in events if a.size > 0}
    sizes: dict[int, int] = {}
    level = highest = index = 0
    at_peak: dict[int, int] = {}
    levels: dict[int, int] = {}  # live bytes after each operator that changes them
    # Replay the events. The owners are copied at each new peak, since the last copy is
    # that of the highest.
    for change in events:
        level += change.size
        if change.size > 0:
            sizes[change.storage] = change.size
        else:
            del sizes[change.storage]
        if level > highest:
            highest, index, at_peak = level, change.index, dict(sizes)
        levels[change.index] = level
    timeline = pd.Series(levels, dtype=float).reindex(range(len(operators)))
    alive: dict[str, float] = {}
    for storage, size in at_peak.items():
        path = births[storage].path
        alive[path] = alive.get(path, 0) + size / MIB
    peak_op = operators[min(index, len(operators) - 1)] if operators else None
    frame = pd.DataFrame(
        {
            "operator": pd.Series([o.name for o in operators], dtype=str),
            "layer": pd.Series([o.path for o in operators], dtype=str),
            "phase": pd.Series([o.phase for o in operators], dtype=str),
            "live_mib": timeline.ffill().fillna(0) / MIB,
        }
    )
    return Memory(
        peak_mib=max(peak, highest) / MIB,
        tensors_mib=highest / MIB,
        workspace_mib=max(peak - highest, 0) / MIB,
        at=f"{peak_op.path or '(model)'}: {peak_op.name}" if peak_op else "",
        timeline=frame,
        alive=dict(sorted(alive.items(), key=lambda item: -item[1])),
    )
