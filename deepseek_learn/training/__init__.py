"""The small training loop used by all lessons, zoo scripts and benchmarks.

By default, it trains with `DeepOpt` and a learning rate that warms up, stays constant
and then decays (`wsd`). The forward pass runs in bfloat16 if the processor supports it.
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

from .loop import Fit, fit, predict
from .recipe import Limits, Recipe, accuracy
from .schedule import constant, cosine, wsd

__all__ = [
    "Fit",
    "Limits",
    "Recipe",
    "accuracy",
    "constant",
    "cosine",
    "fit",
    "predict",
    "wsd",
]
