"""Tools for measuring the time, memory and energy of a call.

Times and energies are returned as `Measured` values, which carry a unit, a source and,
where possible, a 95% interval. The profiler, the tuner and the wizard all use this
package, so their timings follow the same protocol: the calls are timed in alternation,
and the median is reported (see `timing`). `memory` measures peak memory, `energy`
measures energy in joules, and `roof` measures the peak performance of the machine.
`bootstrap` gives any other figure its interval.

Lesson: `notebooks/basic/05_profiler.ipynb`.
"""

from .. import lazy

_LAZY = {
    "Bootstrap": "resampling",
    "EnergyMeter": "energy",
    "Latencies": "timing",
    "Latency": "timing",
    "Measured": "measured",
    "MeterError": "energy",
    "Roof": "roof",
    "bootstrap": "resampling",
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
