"""Peak activation memory: against the process's high-water mark, and by hand."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from deepseek_learn.measure.memory import RETURN_FREED
from deepseek_learn.profiler import profile
from deepseek_learn.profiler.memory import live
from deepseek_learn.profiler.recorder import AllocatorEvent, Operator

MIB = 2**20

EXACT = RETURN_FREED | {"OMP_NUM_THREADS": "1"}
SCRIPT = Path(__file__).with_name("high_water_mark.py")


MODELS = ["convolutions", "unet", "transformer", "volume"]


@pytest.fixture(scope="module")
def readings():
    """Model → mode → the readings, each model's from a process of its own."""
    command = [sys.executable, str(SCRIPT), *MODELS]
    environment = os.environ | EXACT
    run = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    lines = map(json.loads, filter(None, run.stdout.splitlines()))
    return dict(zip(MODELS, lines, strict=True))


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="needs Linux's /proc"
)
@pytest.mark.parametrize("name", MODELS)
def test_the_peak_is_the_process_s_own_high_water_mark(readings, name):
    for mode, read in readings[name].items():
        truth, ours = read["process"], read["profiler"]
        assert truth > 20 * MIB  # pages and the interpreter are noise in comparison
        assert ours == pytest.approx(truth, rel=0.02), mode


def test_tensors_and_workspace_add_up_to_the_peak():
    result = profile(nn.Conv2d(16, 16, 3), torch.randn(1, 16, 64, 64), repeats=1)
    memory = result.memory
    output = 16 * 62 * 62 * 4 / MIB
    assert memory.tensors_mib == pytest.approx(output)
    assert memory.peak_mib == pytest.approx(memory.tensors_mib + memory.workspace_mib)
    assert memory.alive == pytest.approx({"": output})
    assert memory.timeline["live_mib"].max() == pytest.approx(output)


def test_in_place_work_and_views_allocate_nothing():
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(inplace=True), nn.Flatten())
    result = profile(model, torch.randn(100, 64), repeats=1)
    assert result.memory.tensors_mib == pytest.approx(100 * 64 * 4 / MIB)
    assert set(result.memory.alive) == {"0"}


def test_training_keeps_what_the_backward_needs():
    model = nn.Sequential(*[nn.Linear(64, 64) for _ in range(4)])
    x = torch.randn(256, 64)
    forward = profile(model, x, repeats=1).memory
    step = profile(model, x, train=True, repeats=1).memory
    one = 256 * 64 * 4 / MIB
    assert forward.tensors_mib == pytest.approx(2 * one)  # one layer's input and output
    assert step.tensors_mib >= 4 * one


def test_a_constant_the_model_holds_is_no_activation():
    model = nn.Module()
    table = torch.randn(1000, 1000)  # neither parameter nor buffer
    model.forward = lambda x: table[:1] + x
    assert profile(model, torch.randn(1, 1000), repeats=1).memory.tensors_mib < 0.01


def test_a_constant_that_goes_hides_no_tensor_at_its_address():
    def forward(x):
        t = torch.tensor(2.0)  # created by no operator
        y = x.sum() * t
        del t
        return x + y

    model = nn.Module()
    model.forward = forward
    result = profile(model, torch.ones(2**18), repeats=1)  # 1 MiB
    added = result.operators[result.operators["operator"] == "add"]
    assert list(added["out_bytes"]) == [MIB]
    assert result.memory.tensors_mib == pytest.approx(1, abs=0.01)


def row(name, path=""):
    return Operator(path, name, "forward", "element", 0, 0, 0, 0, 0)


def test_live_storages_by_hand():
    operators = [row("a", "x"), row("b", "y"), row("c", "x")]
    events = [
        AllocatorEvent(0, 0, 4 * MIB, "x"),
        AllocatorEvent(1, 1, 8 * MIB, "y"),
        AllocatorEvent(2, 0, -4 * MIB, "x"),
        AllocatorEvent(2, 3, 2 * MIB, "x"),
    ]
    memory = live(operators, events, 15 * MIB)
    assert (memory.peak_mib, memory.tensors_mib, memory.workspace_mib) == (15, 12, 3)
    assert memory.at == "y: b"
    assert memory.alive == {"y": 8, "x": 4}
    assert list(memory.timeline["live_mib"]) == [4, 12, 10]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_on_a_gpu_the_peak_is_the_allocator_s():
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3)).cuda()
    x = torch.randn(8, 3, 128, 128, device="cuda")
    result = profile(model, x, repeats=1)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with torch.no_grad():
        model(x)
    truth = torch.cuda.max_memory_allocated() - before
    assert result.peak_mib * MIB == pytest.approx(truth, rel=0.02)
    assert result.operators["latency_ms"].sum() > 0
