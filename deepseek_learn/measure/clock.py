"""Reading the clock: samples, turns, and waiting for a GPU.

PyTorch is not imported here: the energy meter and the tuner work without it.
"""

import statistics
import sys
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    import torch

Reading = TypeVar("Reading")
Devices: TypeAlias = Collection["torch.device"]
SAMPLE_S = 1e-3  # minimum duration of a sample: the clock's resolution is negligible


def seconds(call: Callable[[], object], calls: int = 1, devices: Devices = ()) -> float:
    """Seconds per call, averaged over `calls` calls.

    Args:
        devices: the clock is read when the GPUs among them have finished their work.
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
    """A function that returns the milliseconds of one call, from a sample of 1 ms or more.

    It warms `call` up, then times one call to find out how many make a sample.
    """
    for _ in range(warmup):
        call()
    once = max(seconds(call, devices=devices), 1e-9)
    calls = -int(-SAMPLE_S // once)  # rounded up
    return lambda: 1e3 * seconds(call, calls, devices)


def median_ms(call: Callable[[], object], duration: float) -> float:
    """Median milliseconds of single calls over about `duration` seconds, at least three.

    The counterpart of a program that times its own calls and reports their median, such
    as the C++ engine: the two can take turns.
    """
    call()  # warm-up
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < duration:
        times.append(1e3 * seconds(call))
    return statistics.median(times)


def in_turn(
    sides: Mapping[str, Callable[[], Reading]],
    rounds: int,
    on_reading: Callable[[], object] = lambda: None,
) -> dict[str, list[Reading]]:
    """One reading of each side per round, in reverse order in every other round.

    Whatever slows the machine for longer than a round slows every side, and none always
    runs first. `on_reading` is called after each, for a progress bar.
    """
    readings: dict[str, list[Reading]] = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            readings[name].append(sides[name]())
            on_reading()
    return readings


def synchronize(devices: Devices) -> None:
    """Wait until the GPUs among `devices` have finished what is queued."""
    for device in devices:
        if device.type not in ("cpu", "meta"):
            import torch

            torch.accelerator.synchronize(device)


def gpus_in_use() -> Devices:
    """PyTorch's current GPU if this process already uses one, else none."""
    if "torch" not in sys.modules:
        return ()
    import torch

    gpu = torch.accelerator.current_accelerator()
    if not gpu:
        return ()
    cuda = gpu.type == "cuda"  # whether it is available is not asked: that starts it
    used = torch.cuda.is_initialized() if cuda else torch.accelerator.is_available()
    return (gpu,) if used else ()


def source_of(devices: Devices) -> str:
    """Where calls run, as in "cuda" or "cpu, 1 thread"."""
    if gpus := {device.type for device in devices} - {"cpu"}:
        return ", ".join(sorted(gpus))
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    return f"cpu, {threads} thread{'s' * (threads > 1)}"
