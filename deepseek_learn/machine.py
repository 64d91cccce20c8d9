"""What the numbers of a measurement depend on."""

import platform
from pathlib import Path


def processor() -> str:
    """Model and instruction set: virtual machines of one name differ in the latter."""
    import torch

    name, info = platform.processor() or platform.machine(), Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"
