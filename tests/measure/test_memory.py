"""Peak memory: the allocator's against the system's, and both by hand."""

import os
import subprocess
import sys

import pytest
import torch

from deepseek_learn.measure import (
    memory,
    peak_bytes,
    peak_resident_bytes,
    resident_bytes,
)

MIB = 2**20
linux = pytest.mark.skipif(not memory.PROCESS.exists(), reason="needs Linux's /proc")


def passing_tensors() -> None:
    """64 MiB come and go, then 32 MiB."""
    torch.ones(64 * MIB // 4).sum()
    torch.ones(32 * MIB // 4).sum()


def test_the_allocator_s_peak_by_hand():
    assert peak_bytes(passing_tensors) == pytest.approx(64 * MIB, abs=4096)
    tensors = []
    both = peak_bytes(lambda: tensors.extend(torch.ones(MIB) for _ in range(2)), "cpu")
    assert both == pytest.approx(8 * MIB, abs=4096)


def test_what_existed_before_does_not_count():
    before = torch.ones(16 * MIB // 4)
    assert peak_bytes(lambda: before.add_(1)) < 4096


PROCESS = """
import torch
from deepseek_learn.measure import peak_resident_bytes, resident_bytes
MIB = 2**20
def call():
    torch.ones(64 * MIB // 4).sum()
    torch.ones(32 * MIB // 4).sum()
torch.ones(256 * MIB // 4).sum()  # an earlier, higher mark, which is reset
before = resident_bytes()
tensor = torch.ones(8 * MIB // 4)
print(peak_resident_bytes(call), peak_resident_bytes(call, above=before))
"""


@pytest.mark.slow
@linux
def test_the_system_sees_the_same_peak_in_a_fresh_process():
    environment = os.environ | memory.RETURN_FREED
    command = [sys.executable, "-c", PROCESS]
    output = subprocess.check_output(command, text=True, env=environment)
    peak, above = map(int, output.split())
    assert peak == pytest.approx(64 * MIB, rel=0.02)
    assert above == pytest.approx(72 * MIB, rel=0.02)


@linux
def test_resident_memory_follows_a_tensor():
    before = resident_bytes()
    tensor = torch.ones(64 * MIB // 4)
    with_tensor = resident_bytes()
    del tensor
    assert with_tensor - before == pytest.approx(64 * MIB, rel=0.05)
    assert resident_bytes() - before < 4 * MIB


MARK = """
import torch
from deepseek_learn.measure import memory
MIB = 2**20
memory.reset_high_water()
before = memory.high_water_bytes()
torch.ones(64 * MIB // 4).sum()
passed = memory.high_water_bytes() - before
memory.reset_high_water()
print(passed, memory.high_water_bytes() - before)
"""


@linux
def test_the_high_water_mark_remembers_until_it_is_reset():
    environment = os.environ | memory.RETURN_FREED
    command = [sys.executable, "-c", MARK]
    output = subprocess.check_output(command, text=True, env=environment)
    passed, after_reset = map(int, output.split())
    assert passed == pytest.approx(64 * MIB, rel=0.1)
    assert after_reset < 8 * MIB


def test_resident_memory_is_refused_where_it_cannot_be_read(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROCESS", tmp_path / "self")
    for read in (resident_bytes, lambda: peak_resident_bytes(list)):
        with pytest.raises(OSError, match="status does not exist on this system"):
            read()
    with pytest.raises(OSError, match="clear_refs does not exist on this"):
        memory.reset_high_water()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_the_peak_on_a_gpu():
    def call():
        torch.ones(64 * MIB // 4, device="cuda").sum()

    call()
    assert peak_bytes(call, "cuda") == pytest.approx(64 * MIB, rel=0.01)
