"""Activation memory: which tensors are alive when, and the allocator's high-water mark.

Neither reading alone is enough. Storages, tracked from allocation to release, show
which layer owns the memory; the allocator's events show the true peak, which includes
the scratch memory of kernels (a convolution's workspace). The difference is workspace.
Weights, buffers and inputs exist before the pass and are not activations. Memory that a
kernel requests and never touches (as oneDNN's recurrent layers do) counts toward the
peak, though the operating system need not provide it.
"""

from dataclasses import dataclass

import pandas as pd

from .recorder import Allocation, Operator

MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """The memory of one pass, in MiB above the level before it.

    Attributes:
        peak_mib: the allocator's high-water mark.
        tensors_mib: the peak of the tensors alone.
        workspace_mib: what the allocator handed out beyond that, as scratch memory for
            kernels.
        at: the operator at the tensors' peak, and its module.
        timeline: one row per operator, with its `layer` and the `live_mib` after it.
        alive: layer → MiB of its tensors that are alive at that peak.
    """

    peak_mib: float
    tensors_mib: float
    workspace_mib: float
    at: str
    timeline: pd.DataFrame
    alive: dict[str, float]


def live(operators: list[Operator], allocations: list[Allocation], peak: int) -> Memory:
    """Compute the memory of a pass from its allocations and the `peak` in bytes."""
    births = {a.storage: a for a in allocations if a.size > 0}
    sizes: dict[int, int] = {}
    level = highest = index = 0
    at_peak: dict[int, int] = {}
    levels: dict[int, int] = {}  # operator → live bytes after it, where it changes them
    for change in allocations:
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
