"""Tools and a course for making deep networks smaller, faster and easier to understand.

The names below are imported on first use, which keeps `import deepseek_learn` fast.
"""

from . import lazy

__version__ = "0.1.0"

_LAZY = {
    "AutoTuner": "tuner",
    "DeepOpt": "optim",
    "DeploymentWizard": "deploy",
    "DynamicParameterGroup": "dpg",
    "ModelProfiler": "profiler",
    "SpatialChannelAttention": "attention",
}
_MODULES = (
    "attention",
    "course",
    "data",
    "deploy",
    "dpg",
    "lm",
    "optim",
    "profiler",
    "solutions",
    "training",
    "tuner",
    "zoo",
)

__all__ = ["__version__", *_LAZY, *_MODULES]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, _MODULES)
