"""Properties of the machine that affect measurements."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any


def processor() -> str:
    """Return the CPU model and its instruction set.

    The instruction set is included because virtual CPUs with the same model name can
    have different instruction sets.
    """
    import torch

    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with a single PyTorch thread.

    Very small operations are slower with more than one thread.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def multiplies_bfloat16(device: Any = "cpu") -> bool:
    """Return whether the device multiplies bfloat16 matrices faster than float32 ones.

    A CPU needs special instructions for this (AVX512-BF16 or AMX). Without them,
    PyTorch emulates bfloat16 in float32, which is slower.
    """
    import torch

    return _multiplies_bfloat16(str(torch.device(device)))


@cache
def _multiplies_bfloat16(device: str) -> bool:
    import torch

    if device.startswith("cuda"):
        with torch.cuda.device(device):
            return torch.cuda.is_bf16_supported(including_emulation=False)
    if device != "cpu":
        return False
    return _cpu_has("avx512_bf16") or has_amx()


def has_amx() -> bool:
    """Return whether the CPU multiplies matrices in tiles (AMX)."""
    return _cpu_has("amx_tile")


@cache
def _cpu_has(feature: str) -> bool:
    import torch

    return getattr(torch.cpu, f"_is_{feature}_supported", lambda: False)()
