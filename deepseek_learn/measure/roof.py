"""The roofline of this machine: its peak arithmetic throughput and memory bandwidth.

It is measured, never looked up, with a matrix product, a convolution, a copy, and an
operator on one number (for the call overhead). The best of several readings counts,
since a machine can run below its roof but never above it.
Williams et al. 2009, "Roofline: an insightful visual performance model", Communications
of the ACM 52(4).
"""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F

from .clock import seconds

READINGS = 10
# (channels, side) of 3 x 3 convolutions: the better one counts
CONVOLUTIONS = ((64, 56), (128, 28))
# Side of the matrix product, batch of the convolutions, calls timed together. With the
# CPU's sizes, a GPU would finish before its next call.
CPU, GPU = (1024, 1, 1), (8192, 64, 20)
ROOF_SHARE = 0.05  # fraction of a profile's time that one more reading may take
_known: dict[tuple, "Roof"] = {}
_took: dict[tuple, float] = {}  # seconds of one reading


@dataclass(frozen=True)
class Roof:
    """Peaks of one device, one dtype and one number of threads.

    Attributes:
        gemm_gflops: throughput of a square matrix product (of side 1024, or 8192 on a
            GPU), in 10^9 FLOP/s.
        conv_gflops: the same for the better of two 3 x 3 convolutions, 64 to 64
            channels on 56 x 56 and 128 to 128 on 28 x 28.
        bandwidth_gbs: bytes read plus written by a copy of 128 MiB, in 10^9 byte/s.
        overhead_us: time of one operator on one number, in microseconds.
    """

    gemm_gflops: float
    conv_gflops: float
    bandwidth_gbs: float
    overhead_us: float

    @property
    def ridge(self) -> float:
        """The FLOP/byte above which arithmetic, not memory, is the limit."""
        return max(self.gemm_gflops, self.conv_gflops) / self.bandwidth_gbs


def measured_roof(
    device: torch.device, dtype: torch.dtype = torch.float32, spent: float = math.inf
) -> Roof:
    """Return the best roof so far, after one more reading (ten the first time).

    Args:
        spent: seconds spent so far; another reading is skipped if it takes more than a
            twentieth of them.
    """
    key = str(device), dtype, torch.get_num_threads()
    if key in _known and _took[key] > ROOF_SHARE * spent:
        return _known[key]
    for _ in range(1 if key in _known else READINGS):
        start = time.perf_counter()
        roof = _reading(device, dtype)
        _took[key] = min(time.perf_counter() - start, _took.get(key, math.inf))
        _known[key] = _best(_known[key], roof) if key in _known else roof
    return _known[key]


def _best(a: Roof, b: Roof) -> Roof:
    highest = {name: max(value, getattr(b, name)) for name, value in asdict(a).items()}
    return Roof(**highest | {"overhead_us": min(a.overhead_us, b.overhead_us)})


def _reading(device: torch.device, dtype: torch.dtype) -> Roof:
    side, batch, calls = GPU if device.type == "cuda" else CPU
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        a, b = (torch.randn(side, side).to(device, dtype) for _ in range(2))
        source = torch.empty(2**25, device=device).fill_(1.0)  # 128 MiB
        target = torch.empty_like(source)
        one = torch.ones(1, device=device)
        gemm = _seconds(lambda: a @ b, device, calls)
        convs = [_conv_gflops(*c, batch, device, dtype, calls) for c in CONVOLUTIONS]
        copy = _seconds(lambda: target.copy_(source), device, calls)
        call = _seconds(lambda: one.add(1), device, 200)
    return Roof(
        gemm_gflops=2 * side**3 / gemm / 1e9,
        conv_gflops=max(convs),
        bandwidth_gbs=2 * source.nbytes / copy / 1e9,
        overhead_us=call * 1e6,
    )


def _conv_gflops(
    channels: int,
    side: int,
    batch: int,
    device: torch.device,
    dtype: torch.dtype,
    calls: int,
) -> float:
    x = torch.randn(batch, channels, side, side).to(device, dtype)
    weight = torch.randn(channels, channels, 3, 3).to(device, dtype)
    conv = _seconds(lambda: F.conv2d(x, weight, padding=1), device, calls)
    return 2 * batch * side**2 * channels**2 * 9 / conv / 1e9


def _seconds(call: Callable[[], object], device: torch.device, calls: int) -> float:
    """Return the seconds per call, after a first call that may compile or allocate."""
    call()
    return seconds(call, calls, (device,))
