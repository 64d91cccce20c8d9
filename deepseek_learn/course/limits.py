"""A check ends: after a minute, and before an answer has taken all memory."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

SECONDS = 60.0
MEMORY = 4 * 2**30  # bytes an answer may add to the process
THREAD = 160 * 2**20  # address space that one more thread of a library reserves


class GaveUp(BaseException):
    """Time is up. Not an `Exception`, which an answer may catch."""


@contextmanager
def limits(seconds: float = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """Inside, code that does not end raises `GaveUp`, and greedy code `MemoryError`.

    Time is watched by a signal, so in the main thread only; it ends a loop, a sleep and
    an endless generator, but not a call into C that never comes back to Python, such as
    `sum(itertools.count())`. Memory is watched on Linux.
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
    def give_up(*_) -> None:
        raise GaveUp

    start = time.monotonic()
    before = signal.signal(signal.SIGALRM, give_up)
    # again and again: an answer with a bare `except:` in its loop catches the first
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if remaining:  # somebody else's alarm, such as a test's own limit
            left = max(remaining - (time.monotonic() - start), 1e-3)
            signal.setitimer(signal.ITIMER_REAL, left, interval)


@contextmanager
def memory_limit(memory: int) -> Iterator[None]:
    """Of address space, the only one that Linux enforces for a process."""
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
    """Bytes that the process has mapped."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
