"""Every public function and class has an example in its docstring, and each one runs."""

import doctest
import gc
import importlib
import inspect
import random
from collections.abc import Iterator

import pytest
import torch

import deepseek_learn
from deepseek_learn import solutions
from deepseek_learn.registry import Registry
from tests.test_types import PACKAGES, qualified

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def documented() -> Iterator[tuple[str, object]]:
    """Functions and classes under the first of their public names; errors need none."""
    seen = set()
    for package in PACKAGES:
        module = importlib.import_module(qualified(package, ""))
        for name in module.__all__:
            value = getattr(module, name)
            is_error = inspect.isclass(value) and issubclass(value, BaseException)
            if not callable(value) or is_error or id(value) in seen:
                continue
            seen.add(id(value))
            yield qualified(package, name), value


PUBLIC = dict(documented())
for solution in solutions.names():
    solutions.load(solution)  # which registers it
REGISTRIES = [each for each in gc.get_objects() if type(each) is Registry]


def examples(name: str) -> list[doctest.DocTest]:
    finder = doctest.DocTestFinder(recurse=False)
    return finder.find(inspect.unwrap(PUBLIC[name]), name, globs={}, module=False)


@pytest.fixture
def registries():
    """What an example registers is gone after it."""
    before = [dict(each._entries) for each in REGISTRIES]
    yield
    for registry, entries in zip(REGISTRIES, before, strict=True):
        registry._entries = entries


def test_the_public_names_are_all_there():
    assert len(PUBLIC) > 150
    assert deepseek_learn.AutoTuner in PUBLIC.values()


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_has_an_example_that_runs(
    name, tmp_path, monkeypatch, registries
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEEPSEEK_LEARN_HOME", str(tmp_path / "home"))
    torch.manual_seed(0)
    random.seed(0)
    (test,) = examples(name)
    assert test.examples, f"{name} has no example"
    skipped = [e.source for e in test.examples if doctest.SKIP in e.options]
    assert not skipped, f"{name}: an example that is never run: {skipped}"
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=FLAGS, verbose=False)
    runner.run(test, out=report.append)
    assert not runner.failures, "".join(report)
