"""Training: one small loop, used by every lesson, zoo script and benchmark.

The default recipe: `DeepOpt`, a learning rate that warms up, stays constant and decays
(`wsd`), and a forward pass in bfloat16 where the processor supports it.
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
