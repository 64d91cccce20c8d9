"""Names of a package that are imported when first used (PEP 562)."""

import importlib
import sys
from collections.abc import Mapping, Sequence


def attach(package: str, names: Mapping[str, str], modules: Sequence[str]) -> tuple:
    """What a package's `__init__` needs to be light: `__getattr__`, `__dir__`.

    Args:
        package: its `__name__`.
        names: public name → the submodule it is imported from.
        modules: submodules that are public themselves.
    """

    def getattr_(name: str):
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
