"""Resident memory of this process, and settings of the allocator for measuring."""

import ctypes
import gc
import resource
import sys
from pathlib import Path

# Large tensors come from the process's heap, not from the system at each call: otherwise
# page faults are timed instead of arithmetic.
REUSE_FREED = {
    "MALLOC_MMAP_THRESHOLD_": "1000000000",
    "MALLOC_TRIM_THRESHOLD_": "10000000000",
}
# Blocks of 16 KiB or more return to the system when freed: resident memory is in use.
RETURN_FREED = {
    "MALLOC_MMAP_THRESHOLD_": "16384",
    "MALLOC_TRIM_THRESHOLD_": "0",
    "MALLOC_TOP_PAD_": "0",
}


def status(field: str) -> int:
    """A line of /proc/self/status, in bytes (Linux only)."""
    lines = Path("/proc/self/status").read_text()
    return int(lines.split(f"{field}:")[1].split()[0]) * 1024


def trim() -> None:
    """Return freed memory to the system."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)


def resident() -> int:
    """Resident bytes, after freed memory is returned to the system."""
    trim()
    return status("VmRSS")


def reset_high_water() -> None:
    """Set the high-water mark to what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def high_water() -> int:
    """The resident high-water mark in bytes, since the last reset where supported."""
    if sys.platform == "linux":
        # getrusage's mark would include the parent's memory from before the exec
        return status("VmHWM")
    mark = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return mark if sys.platform == "darwin" else mark * 1024
