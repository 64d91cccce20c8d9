import pytest

from deepseek_learn.measure import clock as clock_module


class Clock:
    """A clock that advances only while a call runs."""

    def __init__(self):
        self.now, self.order = 0.0, []

    def call(self, name, seconds, drift=0.0):
        def run():
            self.order.append(name)
            self.now += seconds + drift * self.now

        return run

    def model(self, name, seconds, drift=0.0):
        run = self.call(name, seconds, drift)
        return lambda x: run()


@pytest.fixture
def clock(monkeypatch):
    fake = Clock()
    monkeypatch.setattr(clock_module.time, "perf_counter", lambda: fake.now)
    return fake
