"""Language models on bytes. The names below are imported when first used."""

from .. import lazy

_LAZY = {"Cache": "decoder", "Decoder": "decoder"}
_MODULES = ("decoder",)

__all__ = [*_LAZY, *_MODULES]

__getattr__, __dir__ = lazy.attach(__name__, _LAZY, _MODULES)
