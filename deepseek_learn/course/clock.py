"""The clock of an answer, which stands still while its check computes.

It swaps the timer of `limits`, which then runs for the check (`CHECK`), for the timer of
the answer and back.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

CHECK = 300.0  # seconds for the work of a check itself; on an idle machine it takes 20
INTERVAL = 0.05  # seconds after which the timer repeats, as in `limits`
_left: list[float] = []  # the seconds of the answer, while its clock stands still


@contextmanager
def answer_time(seconds: float) -> Iterator[None]:
    """Let the answer that is checked in this block take `seconds` in all its calls.

    The block runs under `limits`. Where that has no timer (outside the main thread and
    on Windows), there is no clock either.
    """
    main = threading.current_thread() is threading.main_thread()
    _left[:] = [seconds] if main and hasattr(signal, "setitimer") else []
    try:
        yield
    finally:
        _left.clear()


@contextmanager
def answering() -> Iterator[None]:
    """Run the clock of the answer instead of the check's; `expect.call` does."""
    if not _left:  # there is none, or the answer is calling a function of its check
        yield
        return
    check, _ = signal.setitimer(signal.ITIMER_REAL, _left.pop(), INTERVAL)
    try:
        yield
    finally:
        left, _ = signal.setitimer(signal.ITIMER_REAL, check, INTERVAL)
        _left.append(left)
