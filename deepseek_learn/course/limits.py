"""Time and memory limits for checks."""

import _thread
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

SECONDS = 60.0
GRACE = 1.0  # s in which code may end in an orderly way, such as closing its files
MEMORY = 4 * 2**30  # bytes that an answer may allocate
THREAD = 160 * 2**20  # bytes of address space that each library thread reserves


class GaveUp(BaseException):
    """Raised when the time limit is exceeded.

    It is not a subclass of `Exception`, because an answer might catch `Exception`.
    """


def run_limited(
    function: Callable[[], None], seconds: float = SECONDS, memory: int = MEMORY
) -> None:
    """Call `function` with limited time and memory.

    The time limit relies on a signal, so it only works in the main thread. It can
    interrupt loops, sleeps and infinite generators, also those that catch every
    exception, but not a C function that never returns to Python, such as
    `sum(itertools.count())`. The memory limit only works on Linux.

    Args:
        function: what to call, without arguments.
        seconds: the time limit in seconds.
        memory: the number of bytes that the function may allocate.

    Raises:
        GaveUp: if the time limit is exceeded.
        MemoryError: if the memory limit is exceeded.
    """
    with memory_limit(memory) if sys.platform == "linux" else nullcontext():
        main = threading.current_thread() is threading.main_thread()
        if main and hasattr(signal, "setitimer"):  # not available on Windows
            run_timed(function, seconds)
        else:
            function()


def run_timed(function: Callable[[], None], seconds: float) -> None:
    """Call `function`, and end it by GaveUp once the time is over."""
    start = time.monotonic()
    running = True
    insist = math.inf  # when GaveUp was raised for long enough in the ordinary way

    def give_up(*_: object) -> None:
        if running:
            raise GaveUp

    def alarm(*_: object) -> None:
        nonlocal insist
        insist = min(insist, time.monotonic() + GRACE)
        if time.monotonic() < insist:
            give_up()
        elif running:
            # Both signals are pending after this call, and Python handles the one with
            # the lower number first: SIGTRAP raises GaveUp, and SIGALRM stays pending
            # until the interpreter's next step, which therefore raises it again. No
            # answer can catch all of these, because its `except` is such a step, too.
            any(map(_thread.interrupt_main, (signal.SIGTRAP, signal.SIGALRM)))

    handlers = {signal.SIGTRAP: give_up, signal.SIGALRM: alarm}
    previous = {each: signal.signal(each, handlers[each]) for each in handlers}
    # The timer repeats, because a bare `except:` in the answer may catch one signal.
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds, 0.05)
    try:
        function()
    finally:
        running = False  # first, as a pending signal would otherwise end this block
        signal.setitimer(signal.ITIMER_REAL, 0)
        for each, handler in previous.items():
            signal.signal(each, handler)
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
