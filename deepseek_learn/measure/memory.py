"""Measure the peak memory of a call.

PyTorch's allocator reports an exact and reproducible peak, but only for the memory that
it allocated itself. The operating system's peak includes all memory that the process
touched, even freed memory that is kept for reuse. To measure this peak exactly, start a
new process with the environment variables in `RETURN_FREED`, and run the call twice
before the measurement to get one-time allocations out of the way. An earlier process must
have imported PyTorch, so that Python need not compile it in this one.
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

# Environment variables for glibc, which reads them when a process starts. With these
# values, freed blocks of 16 KiB or more are returned to the system immediately, and the
# resident memory is the memory in use. Python keeps what it compiles: where PyTorch was
# compiled in the process, the peak was 4 MB too high, probably since glibc fills the holes
# that compiling leaves before it asks for memory.
RETURN_FREED = {
    "PYTHONDONTWRITEBYTECODE": "",
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_TOP_PAD_": "0",
}
# With these values, large tensors are allocated from the heap rather than requested
# from the system on every call. Otherwise, a benchmark would time page faults instead
# of arithmetic.
REUSE_FREED = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
}
PROCESS = Path("/proc/self")


def peak_bytes(call: Callable[[], object], device: "torch.device | str" = "cpu") -> int:
    """Return the peak memory that PyTorch allocates during `call()`, in bytes.

    Memory that was already allocated before the call is not included.

    >>> import torch
    >>> from deepseek_learn import measure
    >>> measure.peak_bytes(lambda: torch.zeros(1000) + 1)
    8012
    """
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
    """Return the sizes of all CPU allocations in order; frees have negative sizes."""
    from torch.autograd import profiler

    # PyTorch 2.13 prints "profiler_start" if the log level is below 6. It reads the
    # level only once, when the profiler is first used.
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with profiler.profile(use_kineto=False, profile_memory=True) as trace:
        call()
    events = (e for e in trace.kineto_results.events() if e.name() == "[memory]")
    return [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]


def peak_resident_bytes(call: Callable[[], object], above: int | None = None) -> int:
    """Return the peak increase in resident memory during `call()`, in bytes.

    Args:
        above: the baseline, in bytes, to subtract from the high-water mark, such as the
            resident memory before a model was loaded. By default, this is the resident
            memory before the call.

    Raises:
        OSError: if the system is not Linux, because other systems cannot reset the
            high-water mark.

    >>> import torch
    >>> from deepseek_learn import measure
    >>> measure.peak_resident_bytes(lambda: torch.ones(10_000_000).sum(), above=0) > 4e7
    True
    """
    before = resident_bytes()
    reset_high_water()
    call()
    return high_water_bytes() - (before if above is None else above)


def resident_bytes() -> int:
    """Return the resident memory of this process in bytes.

    Before the reading, garbage is collected and freed memory is returned to the system.

    Raises:
        OSError: if the system is not Linux.

    >>> from deepseek_learn import measure
    >>> measure.resident_bytes() > 2**20
    True
    """
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # available only in glibc
        libc.malloc_trim(0)
    return status_bytes("VmRSS")


def reset_high_water() -> None:
    """Reset the high-water mark of resident memory to its current value.

    Raises:
        OSError: if the system is not Linux.
    """
    _file("clear_refs").write_text("5")


def high_water_bytes() -> int:
    """Return the high-water mark of resident memory since the last reset, in bytes.

    On systems other than Linux, this is the high-water mark since the process started.
    """
    if sys.platform == "linux":
        # getrusage would include the memory of the parent process before exec
        return status_bytes("VmHWM")
    import resource

    mark = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return mark if sys.platform == "darwin" else mark * 1024


def status_bytes(field: str) -> int:
    """Return a memory field from `/proc/self/status`, such as "RssAnon", in bytes.

    Raises:
        OSError: if the system is not Linux.
    """
    return int(_file("status").read_text().split(f"{field}:")[1].split()[0]) * 1024


def _file(name: str) -> Path:
    if not PROCESS.exists():
        raise OSError(
            f"{PROCESS / name} does not exist on this system ({sys.platform}); it is "
            "available only on Linux."
        )
    return PROCESS / name
