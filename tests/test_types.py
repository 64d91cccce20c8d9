"""The stubs that editors and type checkers read."""

import ast
import importlib
from pathlib import Path

import pytest

import deepseek_learn

PACKAGE = Path(deepseek_learn.__file__).parent
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))


def names(stub):
    """Public name → the module that the stub imports it from."""
    found = {}
    for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = node.module and "." * (node.level - 1) + node.module
            found |= {each.asname: module for each in node.names}
    return found


def package_of(stub):
    place = stub.parent.relative_to(PACKAGE.parent)
    return importlib.import_module(".".join(place.parts))


@pytest.mark.parametrize("stub", STUBS, ids=lambda path: path.parent.name)
def test_a_stub_shows_what_is_imported_when_first_used(stub):
    package = package_of(stub)
    modules = dict.fromkeys(getattr(package, "_MODULES", ()))
    assert names(stub) == package._LAZY | modules


def test_every_lazy_package_has_a_stub():
    lazy = [p for p in PACKAGE.rglob("__init__.py") if "lazy.attach" in p.read_text()]
    assert sorted(p.with_suffix(".pyi") for p in lazy) == STUBS
    assert (PACKAGE / "py.typed").exists()
