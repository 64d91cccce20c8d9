"""Measurements of time, memory and energy: a value with its interval, unit and source.

The profiler, the tuner and the wizard measure with this package, so that their figures
follow one protocol (`timing`): the sides take turns, and the result is the median with
its 95 % interval. `memory` reads a call's peak, `energy` its joules, and `roof` the
peaks of the machine.
Lesson: `notebooks/basic/05_profiler.ipynb`.
"""

from .. import lazy

_LAZY = {
    "EnergyMeter": "energy",
    "Latencies": "timing",
    "Latency": "timing",
    "Measured": "measured",
    "MeterError": "energy",
    "Roof": "roof",
    "latencies": "timing",
    "latency": "timing",
    "measured_energy": "energy",
    "measured_error": "measured",
    "measured_median": "measured",
    "measured_ratio": "measured",
    "measured_roof": "roof",
    "peak_bytes": "memory",
    "peak_resident_bytes": "memory",
    "resident_bytes": "memory",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
