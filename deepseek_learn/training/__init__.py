"""A small training loop that all lessons, zoo scripts and benchmarks use.

By default, it trains with `DeepOpt` and a learning rate that warms up, stays constant
and decays (`wsd`). The forward pass runs in bfloat16 if the processor supports it.
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
