"""A time limit for a block of code.

In the main thread, an alarm signal interrupts the block even if it is sleeping or
waiting. In other threads, and on systems without such a signal (Windows), Python raises
the exception between two bytecode instructions, so a call into C code finishes first.
"""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TimedOut(BaseException):
    """Raised when a block runs out of time.

    It is a `BaseException`, so a broad `except Exception` does not catch it.
    """


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise `TimedOut` in the block after `seconds`; None means there is no limit."""
    in_main = threading.current_thread() is threading.main_thread()
    if seconds is None:
        yield
    elif in_main and hasattr(signal, "setitimer"):
        with _alarm(seconds):
            yield
    else:
        with _injected(seconds):
            yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise TimedOut

    handler = signal.signal(signal.SIGALRM, ring)
    remaining, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, remaining)  # restore an outer alarm
        signal.signal(signal.SIGALRM, handler)


@contextmanager
def _injected(seconds: float) -> Iterator[None]:
    ident, lock, over = threading.get_ident(), threading.Lock(), threading.Event()
    inject = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def ring() -> None:
        with lock:  # do not raise after the block has ended
            if not over.is_set():
                inject(ctypes.c_ulong(ident), ctypes.py_object(TimedOut))

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        with lock:
            over.set()
            inject(ctypes.c_ulong(ident), None)  # cancel a pending exception
        timer.cancel()
