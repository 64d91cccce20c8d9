"""Measure the energy used by a block of code, with hardware counters if possible.

There are three possible sources, and each result states which one was used. "nvml" is
the energy counter of an NVIDIA GPU, "rapl" is the energy counter of an Intel or AMD
processor, and "estimate" is CPU time multiplied by an assumed power per core. The
counters cover the whole GPU, or the whole processor and its memory, including work done
by other programs. The estimate covers only the CPU time of this process.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ..catalog import text
from ..errors import DeepSeekLearnError
from ..rng import isolate_rng
from . import clock
from .measured import Measured, measured_median

POWERCAP = Path("/sys/class/powercap")
WATTS_PER_CORE = 5.0
# At 200 W, a 262 kJ counter wraps around after 20 min, so it must be read more often.
READ_EVERY_S = 60.0


class MeterError(DeepSeekLearnError):
    """Raised when an energy counter cannot be read or has no reading yet."""


class EnergyMeter:
    """A context manager that measures the energy used by a block of code, in J.

    Args:
        device: the hardware to measure. "cuda" or "cuda:1" reads the NVML counter of
            that GPU and has no fallback. "cpu" reads the RAPL counter of the processor
            and falls back to an estimate if there is no counter or it is not readable.
            None measures the GPU if this process already uses one through PyTorch and
            pynvml can read its counter; otherwise, it is equivalent to "cpu".
        watts_per_core: the power of one busy core in W, which is used only for the
            estimate. The default of 5 W lies between typical servers (280 W for 64
            cores, or 4.4 W per core) and laptops (28 W for 4 cores, or 7 W per core).
            For a better estimate, pass the rated power of your processor divided by its
            number of cores. Estimates can be compared with each other, but not with
            counter readings.

    Raises:
        MeterError: if `device` is a GPU without a readable counter.
        ValueError: if `device` is not one of these values, or if `watts_per_core` is
            not positive.

    >>> from deepseek_learn.measure import EnergyMeter
    >>> with EnergyMeter() as meter:
    ...     total = sum(range(1_000_000))
    >>> meter.energy_j.value > 0, meter.energy_j.unit
    (True, 'J')
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
        """The source of the measurement: "nvml", "rapl" or "estimate"."""
        return self._counter.source

    @property
    def energy_j(self) -> Measured:
        """The energy used by the most recent block, in J.

        Raises:
            MeterError: if no block has finished yet.
        """
        if self._joules is None:
            raise MeterError(
                "energy_j is not available until the `with` block has finished."
            )
        return Measured(self._joules, unit="J", source=self.source)

    def why(self) -> str:
        """Explain which source was used and why, and what it covers."""
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
    """Measure the energy used by a single call to `call`, in J.

    The calls are split into blocks, and the result is the median energy per call over
    the blocks, with its 95% interval. The random number generators are restored.

    Args:
        seconds: the approximate total duration. Counters are updated every 1 ms (RAPL)
            to 100 ms (NVML), so each block should last at least 0.3 s.
        blocks: the number of blocks; at least 6 are required for an interval.
        device, watts_per_core: see `EnergyMeter`.

    Raises:
        ValueError: if `seconds` is not positive or `blocks` is less than 1.

    >>> from deepseek_learn import measure
    >>> def call():
    ...     return sum(range(10_000))
    >>> energy = measure.measured_energy(call, seconds=0.2, blocks=2)
    >>> energy.unit, energy.value > 0
    ('J', True)
    """
    if not seconds > 0 or blocks < 1:
        raise ValueError(
            f"seconds must be above 0 and blocks must be at least 1; got {seconds!r} "
            f"and {blocks!r}."
        )
    meter, joules = EnergyMeter(device, watts_per_core), []
    with isolate_rng():  # how often `call` draws depends on the clock
        call()  # warm-up
        once = clock.seconds(call, devices=clock.gpus_in_use())
        calls = max(1, round(seconds / blocks / max(once, 1e-9)))
        for _ in range(blocks):
            with meter:
                for _ in range(calls):
                    call()
            joules.append(meter.energy_j.value / calls)
    return measured_median(joules, "J", meter.source)


class Nvml:
    """The energy counter of an NVIDIA GPU (Volta or newer). Its resolution is 1 mJ."""

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
    """The energy counters of all processor packages and their memory.

    The counters have a resolution of 1 µJ.

    Raises:
        FileNotFoundError: if the machine has no RAPL counter.
        PermissionError: if the counters can be read only by root.
    """

    source, wraps = "rapl", True

    def __init__(self, folder: Path):
        zones = [zone for zone in folder.glob("intel-rapl:*") if _counts(zone)]
        if not zones:
            raise FileNotFoundError(f"no RAPL counter found in {folder}")
        self._files = {zone / "energy_uj": _range(zone) for zone in zones}
        self._last = {file: _number(file) for file in self._files}
        self._microjoules = 0
        self._lock = threading.Lock()  # the meter polls from another thread

    def joules(self) -> float:
        """Return the energy used since this object was created, in J.

        Counter wraparound is taken into account.
        """
        with self._lock:
            for file, wraps_at in self._files.items():
                now = _number(file)
                step = now - self._last[file]
                self._microjoules += step if step >= 0 else step + wraps_at
                self._last[file] = now
            return self._microjoules / 1e6


class Estimate:
    """An energy estimate: CPU time multiplied by the power per core.

    The CPU time includes this process and its terminated child processes.
    """

    source, wraps = "estimate", False

    def __init__(self, watts_per_core: float):
        self.watts_per_core = watts_per_core

    def joules(self) -> float:
        times = os.times()
        children = times.children_user + times.children_system
        return (time.process_time() + children) * self.watts_per_core


_BY_UUID = "nvmlDeviceGetHandleByUUID"


def _choose(kind: str, index: int, watts_per_core: float) -> tuple:
    """Return the best available counter, plus message keys for the unavailable ones."""
    missing = []
    if kind == "cuda" or (not kind and _uses_gpu()):
        try:
            return Nvml(index), ()
        except Exception as error:  # pynvml failed or is not installed
            if kind == "cuda":
                raise MeterError(
                    f"device 'cuda:{index}' has no readable energy counter "
                    f"({type(error).__name__}: {error}); an NVIDIA GPU of the Volta "
                    "generation or newer and the package nvidia-ml-py are required."
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
    """Return the NVML index or the UUID of the GPU that PyTorch calls `cuda:index`."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    entries = [entry.strip() for entry in visible.split(",") if entry.strip()]
    return entries[index] if entries else str(index)


def _counts(zone: Path) -> bool:
    """Check whether a RAPL zone is a processor package or its memory.

    The zones "psys", "core" and "uncore" overlap with these and would be counted twice.
    """
    with suppress(OSError):
        name = (zone / "name").read_text().strip()
        return name.startswith("package") or name == "dram"
    return False


def _range(zone: Path) -> int:
    return _number(zone / "max_energy_range_uj")


def _number(file: Path) -> int:
    return int(file.read_text())
