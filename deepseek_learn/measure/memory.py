"""The peak memory of a call, from the allocator's counter or the operating system.

The allocator's peak is exact and repeatable, and covers what went through PyTorch. The
system's peak covers everything that the process touched, but also what it keeps for
reuse. For an exact reading, start a fresh process with the environment `RETURN_FREED`,
and make two calls beforehand, so that one-time allocations are over.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import clock

if TYPE_CHECKING:
    import torch

# glibc's settings, which a process reads when it starts. Freed blocks of 16 KiB or more
# return to the system at once, so that resident memory is memory in use.
RETURN_FREED = {
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_TOP_PAD_": "0",
}
# Large tensors come from the process's heap, not from the system at each call: otherwise
# page faults are timed instead of arithmetic.
REUSE_FREED = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
}
PROCESS = Path("/proc/self")


def peak_bytes(call: Callable[[], object], device: "torch.device | str" = "cpu") -> int:
    """Return the allocator's peak in `call()` above its starting level, in bytes."""
    import torch

    device = torch.device(device)
    if device.type == "cuda":
        clock.synchronize([device])
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        clock.synchronize([device])
        return torch.cuda.max_memory_allocated(device) - before
    level = highest = 0
    for size in _allocations(call):
        level += size
        highest = max(highest, level)
    return highest


def _allocations(call: Callable[[], object]) -> list[int]:
    """List the bytes that the CPU allocator gave or (negative) took back, in order."""
    from torch.autograd import profiler

    # PyTorch 2.13 prints "profiler_start" below level 6; it reads the level when the
    # process first profiles
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profiler.profile(use_kineto=False, profile_memory=True) as trace:
        call()
    events = (e for e in trace.kineto_results.events() if e.name() == "[memory]")
    return [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]


def peak_resident_bytes(call: Callable[[], object], above: int | None = None) -> int:
    """Return the rise of this process's resident memory in `call()`, in bytes (Linux).

    Args:
        above: bytes to subtract from the high-water mark, such as what was resident
            before a model was loaded; by default, what is resident before the call.

    Raises:
        OSError: if the system is not Linux, and so has no mark that can be reset.
    """
    before = resident_bytes()
    reset_high_water()
    call()
    return high_water_bytes() - (before if above is None else above)


def resident_bytes() -> int:
    """Collect garbage, return freed memory, then read the resident memory (Linux).

    Raises:
        OSError: if the system is not Linux.
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # only glibc has it
        libc.malloc_trim(0)
    return status_bytes("VmRSS")


def reset_high_water() -> None:
    """Set the high-water mark of resident memory to what is resident now (Linux).

    Raises:
        OSError: if the system is not Linux.
    """
    _file("clear_refs").write_text("5")


def high_water_bytes() -> int:
    """Return the high-water mark of resident memory since its last reset, in bytes.

    Outside Linux, it is the mark since the process started.
    """
    if sys.platform == "linux":
        # getrusage's mark would include the parent's memory from before the exec
        return status_bytes("VmHWM")
    import resource

    mark = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return mark if sys.platform == "darwin" else mark * 1024


def status_bytes(field: str) -> int:
    """Read a line of this process's status, such as "RssAnon", in bytes (Linux).

    Raises:
        OSError: if the system is not Linux.
    """
    return int(_file("status").read_text().split(f"{field}:")[1].split()[0]) * 1024


def _file(name: str) -> Path:
    if not PROCESS.exists():
        raise OSError(
            f"{name} is read from Linux's {PROCESS}; {sys.platform} has none."
        )
    return PROCESS / name
