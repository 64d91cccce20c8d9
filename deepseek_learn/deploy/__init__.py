"""Deployment: a trained model becomes files that run, verified, on a chosen target."""

from .. import lazy

_LAZY = {
    "ExportError": "hub",
    "NotTheSameError": "hub",
    "to_onnx": "hub",
    "verify": "hub",
}

__all__ = [*_LAZY]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, ())
