"""Time limits: in the main thread, in other threads, and with an outer alarm."""

import contextlib
import signal
import threading
import time

import pytest

from deepseek_learn.tuner.deadline import TimedOut, deadline


def spin(seconds):
    """Busy work in which every bytecode instruction is short."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def in_thread(work):
    """The exception that `work` raised in its own thread, or None."""
    raised = []

    def run():
        try:
            work()
            raised.append(None)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(timeout=60)
    assert not thread.is_alive()
    return raised[0]


def late(work):
    with deadline(0.1):
        work(120)


@pytest.mark.parametrize("work", [spin, time.sleep])
def test_the_main_thread_is_interrupted_also_while_it_sleeps(work):
    began = time.monotonic()
    with pytest.raises(TimedOut):
        late(work)
    assert time.monotonic() - began < 60


def test_another_thread_is_interrupted_between_two_instructions():
    assert isinstance(in_thread(lambda: late(spin)), TimedOut)


def test_a_broad_except_does_not_keep_it():
    def stubborn():
        with deadline(0.1), contextlib.suppress(Exception):
            spin(120)

    with pytest.raises(TimedOut):
        stubborn()


def in_time():
    for _ in range(20):
        with deadline(0.05):
            spin(0.001)
    spin(0.2)  # no alarm fires afterwards


def test_what_ends_in_time_is_left_alone():
    in_time()
    assert in_thread(in_time) is None
    with deadline(None):
        spin(0.01)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no alarm on Windows")
def test_somebody_elses_alarm_is_given_back():
    before = signal.signal(signal.SIGALRM, lambda *_: None)
    try:
        handler = signal.getsignal(signal.SIGALRM)
        signal.setitimer(signal.ITIMER_REAL, 1000)
        with deadline(5):
            assert signal.getitimer(signal.ITIMER_REAL)[0] <= 5
        assert signal.getsignal(signal.SIGALRM) is handler
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 900
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
