"""The DeepOpt optimizer and a protocol for comparing optimizers fairly.

Lesson: `notebooks/basic/06_deepopt.ipynb`.
"""

from .. import lazy

_LAZY = {
    "DeepOpt": "deepopt",
    "TuningResult": "protocol",
    "balance": "orthogonal",
    "orthogonalize": "orthogonal",
    "steps_to": "protocol",
    "tune": "protocol",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
