"""Latency and energy measurements: a value with its interval, unit and source.

The profiler, the tuner and the wizard measure with this package, so that their figures
follow one protocol: two sides in alternation, the median, its 95 % interval.
Lesson: `notebooks/basic/05_profiler.ipynb`.
"""

from .. import lazy

_LAZY = {
    "EnergyMeter": "energy",
    "Latency": "timing",
    "Measured": "measured",
    "MeterError": "energy",
    "Roof": "roof",
    "latency": "timing",
    "measured_energy": "energy",
    "measured_error": "measured",
    "measured_median": "measured",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
