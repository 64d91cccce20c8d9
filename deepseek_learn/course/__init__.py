"""The course: exercises that answer, progress, the claims ledger, widgets.

The names below are imported when first used: importing this costs next to nothing.
No submodule bears the name of a function here, or importing it would hide the function.
"""

import importlib

_LAZY = {
    "CheckError": "checking",
    "Explore": "widgets",
    "Outcome": "checking",
    "check": "checking",
    "hint": "checking",
    "ledger": "claims",
    "progress": "record",
    "solution": "checking",
    "start": "opening",
    "write_result": "results",
}
_MODULES = ("problems",)

__all__ = [*_LAZY, *_MODULES]


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
