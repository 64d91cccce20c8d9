"""The energy meter on simulated hardware: counters, wraparound, unreadable files."""

import sys
import types
from pathlib import Path

import pytest

from deepseek_learn.measure import EnergyMeter, MeterError, energy, measured_energy

RANGE = 262_143_328_850  # µJ, of a real processor


class Powercap:
    """A sysfs folder of simulated counters."""

    def __init__(self, folder: Path):
        self.folder = folder

    def zone(self, place: str, name: str, microjoules: int = 0, wraps_at=RANGE):
        zone = self.folder / f"intel-rapl:{place}"
        zone.mkdir()
        (zone / "name").write_text(name + "\n")
        (zone / "max_energy_range_uj").write_text(f"{wraps_at}\n")
        self.set(place, microjoules)

    def set(self, place: str, microjoules: int):
        file = self.folder / f"intel-rapl:{place}" / "energy_uj"
        file.write_text(f"{microjoules}\n")


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    return Powercap(tmp_path)


@pytest.fixture
def no_gpu_used(monkeypatch):
    monkeypatch.setattr(energy, "_uses_gpu", lambda: False)


@pytest.fixture
def nvml(monkeypatch):
    """A fake pynvml whose counters are set by the test."""
    module = types.ModuleType("pynvml")
    module.millijoules = {0: 5_000, 1: 70_000, "GPU-abc": 900}
    module.nvmlInit = lambda: None
    module.nvmlDeviceGetHandleByIndex = lambda index: index
    module.nvmlDeviceGetHandleByUUID = lambda uuid: uuid
    module.nvmlDeviceGetTotalEnergyConsumption = module.millijoules.__getitem__
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return module


def test_rapl_adds_packages_and_memory(powercap, no_gpu_used):
    for place, name in {"0": "package-0", "1": "package-1", "0:0": "core"}.items():
        powercap.zone(place, name, 100)
    powercap.zone("0:1", "dram", 100)
    powercap.zone("2", "psys", 100)
    with EnergyMeter() as meter:
        powercap.set("0", 3_000_100)
        powercap.set("1", 500_100)
        powercap.set("0:0", 9_000_000)  # already part of package-0
        powercap.set("0:1", 250_100)
        powercap.set("2", 9_000_000)  # everything a second time
    assert meter.energy_j.value == pytest.approx(3.75)
    assert (meter.energy_j.unit, meter.energy_j.source) == ("J", "rapl")
    assert "RAPL" in meter.why()


def test_rapl_unwraps(powercap, no_gpu_used):
    powercap.zone("0", "package-0", RANGE - 1_000_000)
    with EnergyMeter("cpu") as meter:
        powercap.set("0", 2_000_000)
    assert meter.energy_j.value == pytest.approx(3.0)


def test_rapl_is_read_often_enough_to_unwrap_twice(powercap, no_gpu_used, monkeypatch):
    """A long block wraps more than once, which only intermediate reads can detect."""
    monkeypatch.setattr(energy, "READ_EVERY_S", 0.001)
    powercap.zone("0", "package-0", 0, wraps_at=1_000_000)
    with EnergyMeter("cpu") as meter:
        for microjoules in (900_000, 800_000, 700_000):  # 0.9 + 0.9 + 0.9 J
            before = meter._counter._last.copy()
            file = powercap.folder / "intel-rapl:0" / "energy_uj"
            # an atomic write, so that the reader never sees an empty file
            (powercap.folder / "next").write_text(str(microjoules))
            (powercap.folder / "next").rename(file)
            while meter._counter._last == before:
                pass
    assert meter.energy_j.value == pytest.approx(2.7)


def test_closed_rapl_falls_to_an_estimate_that_says_so(
    powercap, no_gpu_used, monkeypatch
):
    powercap.zone("0", "package-0")
    read = Path.read_text

    def closed(path, *arguments, **options):
        if path.name == "energy_uj":
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", closed)
    with EnergyMeter() as meter:
        pass
    assert meter.energy_j.source == "estimate"
    assert "only root may read them" in meter.why()


@pytest.mark.parametrize("broken", ["folder", "text"])
def test_no_or_broken_rapl_falls_to_an_estimate(powercap, no_gpu_used, broken):
    if broken == "text":
        powercap.zone("0", "package-0")
        (powercap.folder / "intel-rapl:0" / "energy_uj").write_text("?")
    with EnergyMeter() as meter:
        pass
    assert meter.energy_j.source == "estimate"
    assert "no RAPL counter" in meter.why()


def test_estimate_is_processor_seconds_times_watts(powercap, no_gpu_used, monkeypatch):
    times = iter([10.0, 12.5])
    monkeypatch.setattr(energy.time, "process_time", lambda: next(times))
    with EnergyMeter(watts_per_core=4) as meter:
        pass
    assert meter.energy_j.value == pytest.approx(10, abs=1e-9)
    assert meter.energy_j.low is None  # its error is unknown


def test_nvml_counts_millijoules_of_the_gpu_named(nvml):
    with EnergyMeter("cuda:1") as meter:
        nvml.millijoules[1] += 2_500
        nvml.millijoules[0] += 99_999
    assert meter.energy_j.value == pytest.approx(2.5)
    assert meter.energy_j.source == "nvml"
    assert "GPU" in meter.why()


@pytest.mark.parametrize(("visible", "counted"), [("1,0", 1), ("GPU-abc,0", "GPU-abc")])
def test_nvml_follows_cuda_visible_devices(nvml, monkeypatch, visible, counted):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with EnergyMeter("cuda") as meter:
        nvml.millijoules[counted] += 1_000
    assert meter.energy_j.value == pytest.approx(1.0)


def test_gpu_counts_only_where_this_process_uses_one(nvml, powercap, monkeypatch):
    powercap.zone("0", "package-0")
    monkeypatch.setattr(energy, "_uses_gpu", lambda: True)
    assert EnergyMeter().source == "nvml"
    assert EnergyMeter("cpu").source == "rapl"
    monkeypatch.setattr(energy, "_uses_gpu", lambda: False)
    assert EnergyMeter().source == "rapl"


def test_gpu_in_use_without_counter_is_told(powercap, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # cannot be imported
    monkeypatch.setattr(energy, "_uses_gpu", lambda: True)
    meter = EnergyMeter()
    assert meter.source == "estimate"
    assert "The GPU has no readable energy counter." in meter.why()


def test_gpu_asked_for_is_never_estimated(nvml, monkeypatch):
    def unsupported(handle):
        raise RuntimeError("Not Supported")

    nvml.nvmlDeviceGetTotalEnergyConsumption = unsupported
    with pytest.raises(MeterError, match=r"'cuda:0' has no readable energy.*Not Supp"):
        EnergyMeter("cuda")
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(MeterError, match="nvidia-ml-py"):
        EnergyMeter("cuda:1")


def test_energy_of_one_call(powercap, no_gpu_used):
    powercap.zone("0", "package-0")
    used = [0]

    def call():
        used[0] += 2_000_000
        powercap.set("0", used[0])

    result = measured_energy(call, seconds=0.01)
    assert result.value == pytest.approx(2.0)
    assert result.low == pytest.approx(2.0)
    assert (result.unit, result.source) == ("J", "rapl")


def test_energy_refuses():
    with pytest.raises(ValueError, match="\"cuda:N\" or None; got 'tpu'"):
        EnergyMeter("tpu")
    with pytest.raises(ValueError, match="watts_per_core must be above 0; got 0"):
        EnergyMeter(watts_per_core=0)
    with pytest.raises(MeterError, match="not available until"):
        _ = EnergyMeter("cpu").energy_j
    with pytest.raises(ValueError, match="seconds must be above 0"):
        measured_energy(lambda: None, seconds=0)
