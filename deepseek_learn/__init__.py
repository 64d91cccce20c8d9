"""Make deep networks small, fast and understandable, and learn how by doing it.

The names below are imported when first used: `import deepseek_learn` is light.
"""

import importlib

__version__ = "0.1.0"

_LAZY = {"SpatialChannelAttention": "attention"}
_MODULES = ("attention", "course", "data", "training", "zoo")

__all__ = ["__version__", *_LAZY, *_MODULES]


def __getattr__(name: str):
    if name in _LAZY:
        value = getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    elif name in _MODULES:
        value = importlib.import_module(f".{name}", __name__)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
