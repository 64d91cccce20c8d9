"""Training: one small loop, used by every lesson, zoo script and benchmark.

The default recipe: `DeepOpt`, a learning rate that warms up, stays constant and decays
(`wsd`), and a forward pass in bfloat16 where the processor supports it.
Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

from .loop import Fit, accuracy, fit, predict
from .schedule import constant, cosine, wsd

__all__ = ["Fit", "accuracy", "constant", "cosine", "fit", "predict", "wsd"]
