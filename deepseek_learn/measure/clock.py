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
SAMPLE_S = 1e-3  # minimum duration of a sample; makes the clock's resolution negligible


def seconds(call: Callable[[], object], calls: int = 1, devices: Devices = ()) -> float:
    """Return the seconds per call, averaged over `calls` calls.

    Args:
        devices: where `call` runs; the clock is read once the GPUs among them are done.
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
    """Return a function that samples `call` for 1 ms or more and returns ms per call.

    First, `call` is warmed up, then timed once to find out how many calls make a
    sample.
    """
    for _ in range(warmup):
        call()
    once = max(seconds(call, devices=devices), 1e-9)
    calls = -int(-SAMPLE_S // once)  # rounded up
    return lambda: 1e3 * seconds(call, calls, devices)


def median_ms(call: Callable[[], object], duration: float) -> float:
    """Time three or more single calls for about `duration` s; return the median ms.

    This is the counterpart of a program that times its own calls and reports their
    median, such as the C++ engine; the two can take turns.
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
    """Take one reading of each side per round, in reverse order in every other round.

    Whatever slows the machine for longer than a round slows every side, and no side
    always runs first. `on_reading` is called after each reading, for a progress bar.
    """
    readings: dict[str, list[Reading]] = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            readings[name].append(sides[name]())
            on_reading()
    return readings


def synchronize(devices: Devices) -> None:
    """Wait until the GPUs among `devices` have finished their queued work."""
    for device in devices:
        if device.type not in ("cpu", "meta"):
            import torch

            torch.accelerator.synchronize(device)


def gpus_in_use() -> Devices:
    """Return PyTorch's current GPU if this process already uses one, else none."""
    if "torch" not in sys.modules:
        return ()
    import torch

    gpu = torch.accelerator.current_accelerator()
    if not gpu:
        return ()
    cuda = gpu.type == "cuda"  # asking whether it is available would start it
    used = torch.cuda.is_initialized() if cuda else torch.accelerator.is_available()
    return (gpu,) if used else ()


def source_of(devices: Devices) -> str:
    """Describe where calls run, as in "cuda" or "cpu, 1 thread"."""
    if gpus := {device.type for device in devices} - {"cpu"}:
        return ", ".join(sorted(gpus))
    torch = sys.modules.get("torch")
    threads = torch.get_num_threads() if torch else 1
    return f"cpu, {threads} thread{'s' * (threads > 1)}"
