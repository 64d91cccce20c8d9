"""How long, how much energy, how sure: a value with interval, unit and source.

The profiler, the tuner and the wizard measure with what is here, so that their figures
are of one protocol: two sides in turn, the median, its 95 % interval.
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
