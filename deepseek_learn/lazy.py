"""Import the names of a package lazily, when they are first used (PEP 562)."""

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def attach(package: str, names: Mapping[str, str], modules: Sequence[str]) -> tuple:
    """Return the `__getattr__` and `__dir__` functions that make a package lazy.

    Args:
        package: the `__name__` of the package.
        names: a mapping from each public name to the submodule that defines it.
        modules: the names of the public submodules.
    """

    def getattr_(name: str) -> Any:
        if name in names:
            module = importlib.import_module(f".{names[name]}", package)
            value = getattr(module, name)
        elif name in modules:
            value = importlib.import_module(f".{name}", package)
        else:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        setattr(sys.modules[package], name, value)
        return value

    return getattr_, lambda: sorted(sys.modules[package].__all__)
