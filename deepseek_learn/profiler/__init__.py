"""Measure and explain the FLOPs, memory traffic, peak memory and run time of a model.

`ModelProfiler(model)(example)` and `profile(model, example)` both return a `Profile`.
Lesson: `notebooks/basic/05_profiler.ipynb`.
"""

from .. import lazy

_LAZY = {
    "Comparison": "comparison",
    "Cost": "costs",
    "Memory": "memory",
    "ModelProfiler": "model_profiler",
    "Profile": "result",
    "Roof": ".measure.roof",
    "UnsteadyModelError": "restoring",
    "Verdict": "verdicts",
    "layer_costs": "costs",
    "operator_costs": "flop_formulas",
    "profile": "model_profiler",
}

__all__ = list(_LAZY)

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
