"""The stubs that editors and type checkers read, and what mypy makes of them."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import deepseek_learn

PACKAGE = Path(deepseek_learn.__file__).parent
STUBS = sorted(PACKAGE.rglob("__init__.pyi"))
PACKAGES = ("", *deepseek_learn._MODULES, "ledger", "measure")
# one line each: what mypy must reject
MISTAKES = (
    'deepseek_learn.DeepOpt(torch.nn.Linear(1, 1), momentum="high")',
    "deepseek_learn.DeploymentWizard()",
    "deepseek_learn.profiler.profile(torch.zeros(1), torch.zeros(1)).latency_s",
    "deepseek_learn.DeepOptimizer",
)


def names(stub):
    """Public name → the module that the stub imports it from."""
    result = {}
    for node in ast.walk(ast.parse(stub.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            module = node.module and "." * (node.level - 1) + node.module
            result |= {each.asname: module for each in node.names}
    return result


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


def qualified(package, name):
    return ".".join(filter(None, ("deepseek_learn", package, name)))


def public_names(package):
    module = importlib.import_module(qualified(package, ""))
    return [qualified(package, name) for name in module.__all__]


@pytest.fixture(scope="module")
def verdicts(tmp_path_factory):
    """Line of code → what mypy says about it, with this project's settings."""
    pytest.importorskip("mypy")
    names = [name for package in PACKAGES for name in public_names(package)]
    code = [f"reveal_type({name})" for name in names] + [*MISTAKES]
    imports = ["import torch", *(f"import {qualified(p, '')}" for p in PACKAGES)]
    path = tmp_path_factory.mktemp("types") / "usage.py"
    path.write_text("\n".join([*imports, *code]) + "\n")
    command = [sys.executable, "-m", "mypy", "--no-pretty", str(path)]
    run = subprocess.run(command, cwd=PACKAGE.parent, capture_output=True, text=True)
    assert not run.stderr, run.stderr
    message = dict.fromkeys(code, "")
    for number, words in re.findall(r"usage\.py:(\d+): (.*)", run.stdout):
        message[code[int(number) - 1 - len(imports)]] += words
    return message


@pytest.mark.slow
@pytest.mark.parametrize("package", PACKAGES)
def test_a_type_checker_knows_what_a_public_name_is(package, verdicts):
    names = public_names(package)
    assert names
    for name in names:
        message = verdicts[f"reveal_type({name})"]
        assert "Revealed type is" in message, (name, message)
        assert '"Any"' not in message, (name, message)
        assert "error: " not in message, (name, message)


@pytest.mark.slow
def test_a_type_checker_sees_the_class_itself(verdicts):
    message = verdicts["reveal_type(deepseek_learn.DeepOpt)"]
    assert message.endswith('-> deepseek_learn.optim.deepopt.DeepOpt"'), message
    assert "momentum: float" in message


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_type_checker_reports_a_mistake(mistake, verdicts):
    assert "error: " in verdicts[mistake]
