"""Timing primitives: clock readings, alternating samples and GPU synchronization.

This module imports PyTorch only on demand, because the energy meter and the tuner must
also work without it.
"""

import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from ..rng import isolate_rng

if TYPE_CHECKING:
    import torch

Reading = TypeVar("Reading")
Devices: TypeAlias = Collection["torch.device"]
SAMPLE_S = 1e-3  # minimum duration of a sample, far above the clock resolution


def seconds(call: Callable[[], object], calls: int = 1, devices: Devices = ()) -> float:
    """Return the average time per call in seconds.

    Args:
        calls: the number of calls to average over.
        devices: the devices on which `call` runs. GPUs are synchronized before each
            clock reading.
    """
    synchronize(devices)
    start = time.perf_counter()
    for _ in range(calls):
        call()
    synchronize(devices)
    return (time.perf_counter() - start) / calls


def sampler(
    call: Callable[[], object], warmup: int = 3, devices: Devices = ()
) -> Callable[[], float]:
    """Return a function that takes one timing sample of `call`, in ms per call.

    A sample repeats `call` for at least about 1 ms. The number of repetitions is
    estimated from a single timed call, after `warmup` warm-up calls.
    """
    for _ in range(warmup):
        call()
    once = max(seconds(call, devices=devices), 1e-9)
    calls = -int(-SAMPLE_S // once)  # rounded up
    return lambda: 1e3 * seconds(call, calls, devices)


def median_ms(call: Callable[[], object], duration: float) -> float:
    """Return the median time of a single call in ms.

    Calls are timed one by one for about `duration` seconds, but at least three times.
    External programs that time themselves, such as the C++ engine, report the same
    statistic, so the two results can be compared.
    """
    times: list[float] = []
    with isolate_rng():  # how often `call` draws depends on the clock
        call()  # warm-up
        start = time.perf_counter()
        while len(times) < 3 or time.perf_counter() - start < duration:
            times.append(1e3 * seconds(call))
    return statistics.median(times)


def in_turn(
    sides: Mapping[str, Callable[[], Reading]],
    rounds: int,
    on_reading: Callable[[], object] = lambda: None,
) -> dict[str, list[Reading]]:
    """Take one reading of each side per round, and reverse the order after each round.

    If the machine slows down for longer than a round, all sides are affected, and no
    side always runs first. `on_reading` is called after each reading, for example to
    update a progress bar.
    """
    readings: dict[str, list[Reading]] = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            readings[name].append(sides[name]())
            on_reading()
    return readings


def synchronize(devices: Devices) -> None:
    """Wait until all GPUs in `devices` have finished their queued work."""
    for device in devices:
        if device.type not in ("cpu", "meta"):
            import torch

            torch.accelerator.synchronize(device)


def gpus_in_use() -> Devices:
    """Return a tuple with PyTorch's current GPU, or () if no GPU is in use."""
    if "torch" not in sys.modules:
        return ()
    import torch

    gpu = torch.accelerator.current_accelerator()
    if not gpu:
        return ()
    cuda = gpu.type == "cuda"  # an availability check would initialize CUDA
    used = torch.cuda.is_initialized() if cuda else torch.accelerator.is_available()
    return (gpu,) if used else ()


def source_of(devices: Devices) -> str:
    """Return a description of the devices, such as "cuda" or "cpu, 1 thread"."""
    if gpus := {device.type for device in devices} - {"cpu"}:
        return ", ".join(sorted(gpus))
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    return f"cpu, {threads} thread{'s' * (threads > 1)}"
