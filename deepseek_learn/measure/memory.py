"""The peak memory of a call: by the allocator's counter, or by the operating system.

The allocator's peak is exact and repeatable, and covers what went through PyTorch. The
system's covers everything that the process touched, but also what it keeps for reuse: for
an exact reading, start a fresh process with the environment `RETURN_FREED`, and call twice
beforehand, so that one-time allocations are over.
"""

import ctypes
import gc
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch.autograd import profiler as autograd_profiler

from .clock import synchronize

# glibc returns each freed block of 16 KiB or more at once: resident memory is in use
RETURN_FREED = {
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_TOP_PAD_": "0",
}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_bytes(call: Callable[[], object], device: torch.device | str = "cpu") -> int:
    """The allocator's peak during `call()` above the level at its start, in bytes."""
    device = torch.device(device)
    if device.type == "cuda":
        synchronize([device])
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        synchronize([device])
        return torch.cuda.max_memory_allocated(device) - before
    # PyTorch 2.13 prints "profiler_start" below level 6; it reads the level when the
    # process first profiles
    os.environ.setdefault("KINETO_LOG_LEVEL", "6")
    with autograd_profiler.profile(use_kineto=False, profile_memory=True) as trace:
        call()
    changes = [
        (event.start_ns(), event.nbytes())
        for event in trace.kineto_results.events()
        if event.name() == "[memory]"
    ]
    level = highest = 0
    for _, size in sorted(changes, key=lambda change: change[0]):
        level += size
        highest = max(highest, level)
    return highest


def peak_resident_bytes(call: Callable[[], object], above: int | None = None) -> int:
    """The rise of this process's resident memory during `call()`, in bytes (Linux).

    Args:
        above: bytes to subtract from the high-water mark, such as what was resident
            before a model was loaded; by default what is resident before the call.

    Raises:
        OSError: on a system without a high-water mark that can be reset.
    """
    before = resident_bytes()
    CLEAR.write_text("5")  # resets VmHWM to VmRSS
    call()
    return _status("VmHWM") - (before if above is None else above)


def resident_bytes() -> int:
    """This process's resident memory after garbage is freed and returned (Linux).

    Raises:
        OSError: on another system.
    """
    if not CLEAR.exists():
        raise OSError(
            f"resident memory is read from Linux's {CLEAR.parent}; {sys.platform} has "
            f"none."
        )
    gc.collect()
    libc = ctypes.CDLL(None)
    if hasattr(libc, "malloc_trim"):  # musl has none
        libc.malloc_trim(0)
    return _status("VmRSS")


def _status(field: str) -> int:
    """A line of the process's status, in bytes."""
    return int(STATUS.read_text().split(f"{field}:")[1].split()[0]) * 1024
