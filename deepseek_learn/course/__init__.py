"""The course: exercises that answer, progress, the claims ledger, widgets.

The names below are imported when first used: importing this costs next to nothing.
No submodule bears the name of a function here, or importing it would hide the function.
"""

from .. import lazy

_LAZY = {
    "CheckError": "checking",
    "Explore": "widgets",
    "Outcome": "checking",
    "check": "checking",
    "hint": "hints",
    "ledger": ".ledger.claims",
    "progress": "record",
    "solution": "hints",
    "start": "opening",
    "write_result": ".ledger.results",
}
_MODULES = ("problems",)

__all__ = [*_LAZY, *_MODULES]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, _MODULES)
