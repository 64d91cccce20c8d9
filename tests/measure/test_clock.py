"""Samples, turns, and waiting for a GPU."""

import subprocess
import sys

import pytest
import torch

from deepseek_learn.measure.clock import (
    gpus_in_use,
    in_turn,
    median_ms,
    sampler,
    seconds,
    source_of,
)

CPU = torch.device("cpu")


def test_seconds_are_those_of_one_call(clock):
    assert seconds(clock.call("a", 0.5), calls=4) == pytest.approx(0.5)
    assert len(clock.order) == 4


@pytest.mark.parametrize(("call_s", "calls"), [(3e-4, 4), (1e-3, 1), (2.0, 1)])
def test_a_sample_lasts_a_millisecond_or_more(clock, call_s, calls):
    sample = sampler(clock.call("a", call_s), warmup=2)
    assert len(clock.order) == 2 + 1
    assert sample() == pytest.approx(1e3 * call_s)
    assert len(clock.order) == 3 + calls
    assert calls * call_s >= 1e-3


def test_a_median_over_a_duration_forgets_a_slow_call(clock):
    durations = iter([0.0, 9.0, 0.1, 0.1, 0.1, 0.1])  # the first one warms up

    def call():
        clock.now += next(durations)

    assert median_ms(call, 9.2) == pytest.approx(100)  # 9.0, 0.1, 0.1


def test_a_median_takes_three_calls_at_least(clock):
    assert median_ms(clock.call("a", 5.0), 0.1) == pytest.approx(5000)
    assert len(clock.order) == 1 + 3


def test_turns_alternate_and_readings_may_be_anything():
    order, finished = [], []
    sides = {name: lambda n=name: order.append(n) or [n] for name in "ab"}
    readings = in_turn(sides, 3, lambda: finished.append(len(order)))
    assert order == list("abbaab")
    assert readings == {"a": [["a"]] * 3, "b": [["b"]] * 3}
    assert finished == [1, 2, 3, 4, 5, 6]


def test_a_source_names_gpus_or_threads():
    threads = torch.get_num_threads()
    assert source_of([CPU]).startswith(f"cpu, {threads} thread")
    assert source_of([CPU, torch.device("cuda", 1)]) == "cuda"


def test_an_unused_gpu_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(
        torch.accelerator, "current_accelerator", lambda: torch.device("cuda")
    )
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    assert gpus_in_use() == ()
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    assert gpus_in_use() == (torch.device("cuda"),)


def test_energy_and_the_clock_work_without_pytorch():
    code = (
        "import sys\n"
        "from deepseek_learn.measure import measured_energy\n"
        "from deepseek_learn.measure.clock import gpus_in_use, source_of\n"
        "assert measured_energy(lambda: None, 0.01).value >= 0\n"
        "assert (gpus_in_use(), source_of(())) == ((), 'cpu, 1 thread')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
