"""The course: self-checking exercises, progress, the claims ledger and widgets.

The names below are imported on first use, which keeps importing this package cheap.
Submodules must not have the same name as a function listed here, because importing such
a submodule would replace the function.
"""

from .. import lazy

_LAZY = {
    "CheckError": "checking",
    "CtViewer": "viewer",
    "Explore": "widgets",
    "Outcome": "checking",
    "check": "checking",
    "diagnostic": "diagnosis",
    "hint": "hints",
    "ledger": ".ledger.claims",
    "progress": "progress_view",
    "quiz": "quiz_form",
    "solution": "hints",
    "start": "opening",
    "start_page": "start_notebook",
    "write_result": ".ledger.results",
}
_MODULES = ("problems",)

__all__ = [*_LAZY, *_MODULES]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, _MODULES)
