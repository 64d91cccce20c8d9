"""The stubs that type checkers read, and what mypy and pyright make of the types."""

import ast
import dataclasses
import importlib
import inspect
import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import deepseek_learn
from tests import services

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


# what the reader of README's example brings along
EXAMPLE = """
from collections.abc import Callable

from torch import Tensor, nn

from deepseek_learn.tuner import Trial


def program(
    my_resnet: nn.Module,
    calibration_batches: list[Tensor],
    example: Tensor,
    metric: Callable[[Callable[[Tensor], Tensor]], float],
    objective: Callable[[Trial], dict[str, float]],
):
"""
# strict; but an example may name a value without using it
SETTINGS = {
    "typeCheckingMode": "strict",
    "reportUnusedExpression": False,
    "reportUnusedVariable": False,
    "extraPaths": [str(PACKAGE.parent)],
}


def readme_example():
    readme = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    _, section = readme.split("## Use the library\n")
    block = re.search(r"```python\n(.*?)```", section, re.DOTALL)[1]
    return EXAMPLE + textwrap.indent(block, "    ")


def members(cls):
    """The public methods and attributes that a class itself defines or sets."""
    names = {*vars(cls), *inspect.get_annotations(cls)}
    if "__init__" in names and not dataclasses.is_dataclass(cls):
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls.__init__)))
        attributes = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
        names |= {n.attr for n in attributes if ast.unparse(n.value) == "self"}
    return sorted(n for n in names if n == "__init__" or not n.startswith("_"))


def uses_of_public_names():
    """A program that uses each public name, and each member of each public class."""
    lines = ["from typing import Any", "import deepseek_learn"]
    lines += [f"import {qualified(package, '')}" for package in PACKAGES if package]
    for name in [name for package in PACKAGES for name in public_names(package)]:
        lines.append(name)
        module, _, attribute = name.rpartition(".")
        cls = getattr(importlib.import_module(module), attribute)
        if inspect.isclass(cls):
            generic = "[Any]" if getattr(cls, "__parameters__", ()) else ""
            lines.append(f"def uses_{len(lines)}(value: {name}{generic}):")
            lines += [f"    value.{member}" for member in members(cls)] + ["    pass"]
    return "\n".join(lines)


@pytest.fixture(scope="module")
def strict_errors(tmp_path_factory):
    """Program → what pyright's strict mode says about it. It needs no network."""
    services.need("pyright")
    folder = tmp_path_factory.mktemp("strict")
    programs = {
        "readme": readme_example(),
        "public_names": uses_of_public_names(),
        "mistake": "def first(values: list): return values[0]",
    }
    for name, code in programs.items():
        (folder / f"{name}.py").write_text(code + "\n", encoding="utf-8")
    (folder / "pyrightconfig.json").write_text(json.dumps(SETTINGS))
    command = [sys.executable, "-m", "pyright", "--outputjson"]
    command += ["--pythonpath", sys.executable, "--project", str(folder)]
    run = subprocess.run(command, capture_output=True, text=True)
    errors = {name: [] for name in programs}
    for each in json.loads(run.stdout)["generalDiagnostics"]:
        errors[Path(each["file"]).stem].append((each.get("rule"), each["message"]))
    return errors


@pytest.mark.slow
@pytest.mark.parametrize("program", ["readme", "public_names"])
def test_no_type_is_partially_unknown_in_strict_mode(program, strict_errors):
    assert strict_errors[program] == []


@pytest.mark.slow
def test_strict_mode_reports_an_unknown_type(strict_errors):
    rules = {rule for rule, _ in strict_errors["mistake"]}
    assert {"reportMissingTypeArgument", "reportUnknownParameterType"} <= rules
