"""Time and memory limits for checks."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

SECONDS = 60.0
MEMORY = 4 * 2**30  # bytes that an answer may allocate
THREAD = 160 * 2**20  # bytes of address space that each library thread reserves


class GaveUp(BaseException):
    """Raised when the time limit is exceeded.

    It is not a subclass of `Exception`, because an answer might catch `Exception`.
    """


@contextmanager
def limits(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Limit the time and memory that the code in the block may use.

    The time limit relies on a signal, so it only works in the main thread. It can
    interrupt loops, sleeps and infinite generators, but not a C function that never
    returns to Python, such as `sum(itertools.count())`. The memory limit only works on
    Linux.

    Args:
        seconds: the time limit in seconds.
        memory: the number of bytes that the code may allocate.

    Raises:
        GaveUp: if the time limit is exceeded.
        MemoryError: if the memory limit is exceeded.
    """
    with ExitStack() as stack:
        main = threading.current_thread() is threading.main_thread()
        if main and hasattr(signal, "setitimer"):  # not available on Windows
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
    # The timer repeats, because a bare `except:` in the answer may catch one signal.
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous_handler)
        if remaining:  # another alarm was already running, such as a test's timeout
            remaining = max(remaining - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, remaining, interval)


@contextmanager
def memory_limit(memory: int) -> Iterator[None]:
    """Limit the address space, since Linux has no other per-process memory limit."""
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
