"""A block of code that must end after so many seconds, whatever it is doing.

In the main thread the system's alarm interrupts it, also while it sleeps or waits. In
other threads, and where there is no such alarm (Windows), Python raises the exception
between two of its instructions: a call into C ends first.
"""

import ctypes
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TimedOut(BaseException):
    """The block ran out of time. No `Exception`, so that a broad `except` misses it."""


@contextmanager
def deadline(seconds: float | None) -> Iterator[None]:
    """Raise `TimedOut` in the block after so many seconds; None: never."""
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
    def ring(*_) -> None:
        raise TimedOut

    handler = signal.signal(signal.SIGALRM, ring)
    left, _ = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, left)  # another's alarm, such as a test's
        signal.signal(signal.SIGALRM, handler)


@contextmanager
def _injected(seconds: float) -> Iterator[None]:
    ident, lock, over = threading.get_ident(), threading.Lock(), threading.Event()
    inject = ctypes.pythonapi.PyThreadState_SetAsyncExc

    def ring() -> None:
        with lock:  # never after the block has ended
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
            inject(ctypes.c_ulong(ident), None)  # one on its way is called back
        timer.cancel()
