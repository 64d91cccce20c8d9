"""The energy of a block of code: from hardware counters where available, else estimated.

There are three sources, and every result names its own: "nvml", the counter of an
NVIDIA GPU; "rapl", that of an Intel or AMD processor; "estimate", processor seconds x
watts per core. The counters cover the whole GPU or the whole processor with its memory,
including the work of other programs; an estimate covers this process only, and no GPU.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..catalog import text
from ..errors import DeepSeekLearnError
from . import clock
from .measured import Measured, measured_median

POWERCAP = Path("/sys/class/powercap")
WATTS_PER_CORE = 5.0
# A 262 kJ counter wraps after 20 min at 200 W: it must be read more often than that.
READ_EVERY_S = 60.0


class MeterError(DeepSeekLearnError):
    """The requested energy counter cannot be read, or has not been read yet."""


class EnergyMeter:
    """Measure the energy of the code inside a `with` block, in J, with its source.

    Args:
        device: "cuda" or "cuda:1" reads that GPU's counter (NVML), without a fallback.
            "cpu" reads the processor's counter (RAPL), or estimates if it is absent or
            not readable. None uses the GPU if this process already uses one through
            PyTorch and pynvml can read it; otherwise, it is the same as "cpu".
        watts_per_core: the power of one busy core in W, for the estimate. The default,
            5, lies between servers (280 W for 64 cores: 4.4) and laptops (28 W for 4:
            7); pass your processor's rated power divided by its cores. It is a guess
            about hardware: compare estimates with one another, never with counters.

    Raises:
        MeterError: if the requested GPU has no readable counter.
        ValueError: if `device` is anything else, or `watts_per_core` is not above 0.

    >>> with EnergyMeter() as meter:                                # doctest: +SKIP
    ...     model(images)
    >>> meter.energy_j, meter.energy_j.source                       # doctest: +SKIP
    """

    def __init__(
        self, device: str | None = None, watts_per_core: float = WATTS_PER_CORE
    ):
        if not watts_per_core > 0:
            raise ValueError(f"watts_per_core must be above 0; got {watts_per_core!r}.")
        kind, _, index = (device or "").partition(":")
        if kind not in ("", "cpu", "cuda") or (index and not index.isdigit()):
            raise ValueError(
                f'device must be "cpu", "cuda", "cuda:N" or None; got {device!r}.'
            )
        self._counter, self._missing = _choose(kind, int(index or 0), watts_per_core)
        self._joules: float | None = None

    @property
    def source(self) -> str:
        """The source of the figure: "nvml", "rapl" or "estimate"."""
        return self._counter.source

    @property
    def energy_j(self) -> Measured:
        """The energy of the last block, in J.

        Raises:
            MeterError: if no block has ended yet.
        """
        if self._joules is None:
            raise MeterError(
                "energy_j is known when the block ends: read it after `with`."
            )
        return Measured(self._joules, unit="J", source=self.source)

    def why(self) -> str:
        """Say which source was used, what it covers, and why there is no better one."""
        coverage = text(f"measure.energy_{self.source}")
        return " ".join(
            [coverage, *(text(f"measure.energy_{key}") for key in self._missing)]
        )

    def __enter__(self) -> "EnergyMeter":
        self._joules = None
        clock.synchronize(clock.gpus_in_use())
        self._start = self._counter.joules()
        self._stop = threading.Event()
        self._reader = threading.Thread(target=self._poll, daemon=True)
        if self._counter.wraps:
            self._reader.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._counter.wraps:
            self._reader.join()
        clock.synchronize(clock.gpus_in_use())
        self._joules = self._counter.joules() - self._start

    def _poll(self) -> None:
        while not self._stop.wait(READ_EVERY_S):
            self._counter.joules()


def measured_energy(
    call: Callable[[], object],
    seconds: float = 2.0,
    blocks: int = 6,
    device: str | None = None,
    watts_per_core: float = WATTS_PER_CORE,
) -> Measured:
    """Measure the energy of one `call()`, in J.

    The result is the median of several blocks, with its 95 % interval.

    Args:
        seconds: approximate total duration. Counters advance in steps of 1 ms (RAPL) to
            100 ms (NVML), so a block should last 0.3 s or more.
        blocks: number of blocks; an interval needs at least 6.
        device, watts_per_core: see `EnergyMeter`.

    Raises:
        ValueError: if `seconds` is not above 0 or `blocks` is below 1.
    """
    if not seconds > 0 or blocks < 1:
        raise ValueError(
            f"seconds must be above 0 and blocks at least 1; got {seconds!r} and "
            f"{blocks!r}."
        )
    call()  # warm-up
    once = clock.seconds(call, devices=clock.gpus_in_use())
    calls = max(1, round(seconds / blocks / max(once, 1e-9)))
    meter, joules = EnergyMeter(device, watts_per_core), []
    for _ in range(blocks):
        with meter:
            for _ in range(calls):
                call()
        joules.append(meter.energy_j.value / calls)
    return measured_median(joules, "J", meter.source)


class Nvml:
    """The energy counter of one NVIDIA GPU (Volta or newer), in steps of 1 mJ."""

    source, wraps = "nvml", False

    def __init__(self, index: int):
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        entry = _nvml_id(index)
        by_index = entry.isdigit()
        handle = "nvmlDeviceGetHandleByIndex" if by_index else _BY_UUID
        self._gpu = getattr(pynvml, handle)(int(entry) if by_index else entry)
        self.joules()

    def joules(self) -> float:
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._gpu) / 1e3


class Rapl:
    """The counters of all processor packages and their memory, in steps of 1 µJ.

    Raises:
        FileNotFoundError: if there is no counter.
        PermissionError: if only root can read the counters.
    """

    source, wraps = "rapl", True

    def __init__(self, folder: Path):
        zones = [zone for zone in folder.glob("intel-rapl:*") if _counts(zone)]
        if not zones:
            raise FileNotFoundError(f"no RAPL counter in {folder}")
        self._files = {zone / "energy_uj": _range(zone) for zone in zones}
        self._last = {file: _number(file) for file in self._files}
        self._microjoules = 0
        self._lock = threading.Lock()  # the meter's reader thread reads too

    def joules(self) -> float:
        """Return the energy in J since creation, corrected for counter wraparound."""
        with self._lock:
            for file, wraps_at in self._files.items():
                now = _number(file)
                step = now - self._last[file]
                self._microjoules += step if step >= 0 else step + wraps_at
                self._last[file] = now
            return self._microjoules / 1e6


class Estimate:
    """CPU seconds of this process and its ended children, times watts per core."""

    source, wraps = "estimate", False

    def __init__(self, watts_per_core: float):
        self.watts_per_core = watts_per_core

    def joules(self) -> float:
        times = os.times()
        children = times.children_user + times.children_system
        return (time.process_time() + children) * self.watts_per_core


_BY_UUID = "nvmlDeviceGetHandleByUUID"


def _choose(kind: str, index: int, watts_per_core: float) -> tuple:
    """Choose the best available counter; also return text keys for what was missing."""
    missing = []
    if kind == "cuda" or (not kind and _uses_gpu()):
        try:
            return Nvml(index), ()
        except Exception as error:  # one of pynvml's own errors, or no pynvml
            if kind == "cuda":
                raise MeterError(
                    f"device 'cuda:{index}' has no energy counter that can be read "
                    f"({type(error).__name__}: {error}); NVIDIA GPUs since Volta have "
                    "one, and reading it needs the package nvidia-ml-py."
                ) from error
            missing.append("no_nvml")
    try:
        return Rapl(POWERCAP), tuple(missing)
    except PermissionError:
        missing.append("closed_rapl")
    except (OSError, ValueError):
        missing.append("no_rapl")
    return Estimate(watts_per_core), tuple(missing)


def _uses_gpu() -> bool:
    return "cuda" in {gpu.type for gpu in clock.gpus_in_use()}


def _nvml_id(index: int) -> str:
    """Return the NVML index or UUID of PyTorch's GPU `index`."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    entries = [entry.strip() for entry in visible.split(",") if entry.strip()]
    return entries[index] if entries else str(index)


def _counts(zone: Path) -> bool:
    """Accept packages and their memory; "psys", "core", "uncore" would count twice."""
    with suppress(OSError):
        name = (zone / "name").read_text().strip()
        return name.startswith("package") or name == "dram"
    return False


def _range(zone: Path) -> int:
    return _number(zone / "max_energy_range_uj")


def _number(file: Path) -> int:
    return int(file.read_text())
