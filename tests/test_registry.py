"""A registry's names, also those whose modules are imported only when they are needed."""

import subprocess
import sys

import pytest

from deepseek_learn import data
from deepseek_learn.data.splits import datasets
from deepseek_learn.errors import UnknownNameError
from deepseek_learn.registry import Registry


def test_a_module_registers_its_name_when_it_is_first_looked_up(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "late_entry", raising=False)
    (tmp_path / "late_entry.py").write_text(
        "from __main__ import registry\n"
        "@registry.register('late', cost=3)\n"
        "def late(): return 'came'\n"
    )
    registry = Registry("thing", {"late": "late_entry", "never": "json"})
    monkeypatch.setattr(sys.modules["__main__"], "registry", registry, raising=False)
    assert list(registry) == ["late", "never"]
    assert "late" in registry
    assert "late_entry" not in sys.modules
    with pytest.raises(ValueError, match="'late' is already registered"):
        registry.register("late")(print)
    assert registry["late"]() == "came"
    assert registry.facts("late") == {"cost": 3}
    with pytest.raises(
        UnknownNameError, match="'lat' is not known; did you mean 'late'"
    ):
        registry["lat"]
    with pytest.raises(UnknownNameError):  # its module registers nothing
        registry["never"]
    registry.unregister("late")
    assert "late" not in registry


@pytest.mark.parametrize("name", sorted(datasets.modules))
def test_a_solution_registers_its_dataset(name):
    """`data.load` knows it before the solution is imported, and so does `data.NAME`."""
    code = (
        "import sys; from deepseek_learn import data; from deepseek_learn.data.splits "
        f"import datasets; assert {name!r} in data.names(); "
        "assert not any('solutions' in module for module in sys.modules); "
        f"assert datasets[{name!r}] is data.{name}; print(data.{name}.__module__)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == datasets.modules[name]


def test_another_name_is_no_attribute_of_data():
    with pytest.raises(AttributeError, match="has no attribute 'mails'"):
        _ = data.mails
