"""The roofline of this machine: its peak arithmetic throughput and memory bandwidth.

The peaks are measured rather than looked up. A matrix product and two convolutions are
used to measure the throughput, a copy to measure the bandwidth, and an operator applied
to a single number to measure the call overhead. The best of several readings is used,
because a machine can run below its peak but never above it.

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
# (channels, side) of the two 3 x 3 convolutions, of which the faster one is used
CONVOLUTIONS = ((64, 56), (128, 28))
# The side of the matrices, the batch size of the convolutions, and the number of calls
# per reading. With the CPU sizes, a GPU would sit idle between two calls.
CPU, GPU = (1024, 1, 1), (8192, 64, 20)
ROOF_SHARE = 0.05  # maximum time for another reading, as a share of `spent`
_known: dict[tuple, "Roof"] = {}
_took: dict[tuple, float] = {}  # time of the fastest reading in seconds


@dataclass(frozen=True)
class Roof:
    """The measured peaks of a device, for one dtype and one number of threads.

    Attributes:
        gemm_gflops: the throughput of multiplying two square matrices, in 10^9 FLOP/s.
            The matrices are 1024 x 1024 on a CPU and 8192 x 8192 on a GPU.
        conv_gflops: the throughput of the faster of two 3 x 3 convolutions in
            10^9 FLOP/s. One has 64 input and output channels and a 56 x 56 input; the
            other has 128 channels and a 28 x 28 input.
        bandwidth_gbs: the memory bandwidth of a 128 MiB copy in 10^9 bytes/s, counting
            both the bytes read and the bytes written.
        overhead_us: the time one operator takes on a single number, in microseconds.

    >>> from deepseek_learn import profiler
    >>> roof = profiler.Roof(100, 80, bandwidth_gbs=20, overhead_us=2)
    >>> roof.gemm_gflops / roof.bandwidth_gbs  # FLOPs per byte at the ridge
    5.0
    """

    gemm_gflops: float
    conv_gflops: float
    bandwidth_gbs: float
    overhead_us: float

    @property
    def ridge(self) -> float:
        """The intensity in FLOP/byte above which compute becomes the bottleneck."""
        return max(self.gemm_gflops, self.conv_gflops) / self.bandwidth_gbs


def measured_roof(
    device: torch.device, dtype: torch.dtype = torch.float32, spent: float = math.inf
) -> Roof:
    """Measure the peaks of a device and return the best readings so far.

    The first call takes ten readings. Each later call with the same device, dtype and
    number of threads adds one more.

    Args:
        spent: the time spent on the profile so far, in seconds. The additional reading
            is skipped if it would take more than 5% of that time.

    >>> import torch
    >>> from deepseek_learn import measure
    >>> roof = measure.measured_roof(torch.device("cpu"))
    >>> roof.gemm_gflops > 0, roof.bandwidth_gbs > 0
    (True, True)
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
    """Return the time per call in seconds, after one warm-up call that may compile."""
    call()
    return seconds(call, calls, (device,))
