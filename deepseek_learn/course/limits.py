"""Time and memory limits of a check."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

SECONDS = 60.0
MEMORY = 4 * 2**30  # bytes an answer may add to the process
THREAD = 160 * 2**20  # address space that one more library thread reserves


class GaveUp(BaseException):
    """The time limit was exceeded. Not an `Exception`, which an answer might catch."""


@contextmanager
def limits(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Stop slow code in the block with `GaveUp`, memory-hungry code with `MemoryError`.

    The time limit uses a signal, so it works in the main thread only. It interrupts a
    loop, a sleep and an infinite generator, but not a C call that never returns to
    Python, such as `sum(itertools.count())`. Memory is limited on Linux only.
    """
    with ExitStack() as stack:
        main = threading.current_thread() is threading.main_thread()
        if main and hasattr(signal, "setitimer"):  # Windows has none
            stack.enter_context(time_limit(seconds))
        if sys.platform == "linux":
            stack.enter_context(memory_limit(memory))
        yield


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    def give_up(*_: object) -> None:
        raise GaveUp

    start = time.monotonic()
    previous_handler = signal.signal(signal.SIGALRM, give_up)
    # repeated, because a bare `except:` in the answer's loop catches the first signal
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)
        if remaining:  # another alarm was running, such as a test's own time limit
            remaining = max(remaining - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, remaining, interval)


@contextmanager
def memory_limit(memory: int) -> Iterator[None]:
    """Limit the address space, the only memory limit that Linux enforces per process."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = address_space() + memory + THREAD * (os.cpu_count() or 1)
    if soft != resource.RLIM_INFINITY:
        limit = min(limit, soft)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def address_space() -> int:
    """Return the size of the process's address space in bytes."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
