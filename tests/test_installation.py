"""The install command works in the reader's current folder."""

import re
import sys
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from deepseek_learn import installation
from deepseek_learn.cli import doctor
from deepseek_learn.errors import MissingPackageError, require

ROOT = Path(__file__).resolve().parents[1]
WHEEL = (
    '{"url": "file:///tmp/deepseek_learn-0.1.0-py3-none-any.whl", "archive_info": {}}'
)


def installed(monkeypatch, direct_url: str | None, tmp_path: Path) -> None:
    """As if the package were in site-packages, with this record of its origin."""
    record = type("Installed", (), {"read_text": lambda self, name: direct_url})
    monkeypatch.setattr(installation, "ROOT", tmp_path)
    groups = {"x": [Requirement('one>=1 ; extra == "x"'), Requirement("two[a]<3")]}
    monkeypatch.setattr(installation, "requirements_by_extra", lambda: groups)
    monkeypatch.setattr(installation.metadata, "distribution", lambda name: record())
    monkeypatch.setattr(installation, "pip", lambda: "pip")


def test_in_a_clone_the_clone_is_installed_with_the_extra(monkeypatch, tmp_path):
    monkeypatch.setattr(installation, "pip", lambda: "pip")
    monkeypatch.chdir(ROOT)
    assert installation.install_command("vision") == 'pip install -e ".[vision]"'
    assert installation.install_command() == 'pip install -e "."'
    monkeypatch.chdir(tmp_path)
    assert installation.install_command("vision") == f'pip install -e "{ROOT}[vision]"'


def test_from_a_wheel_the_packages_of_the_extra_are_named(monkeypatch, tmp_path):
    installed(monkeypatch, WHEEL, tmp_path)
    assert installation.install_command("x") == 'pip install "one>=1" "two[a]<3"'


def test_from_an_index_the_package_is_named(monkeypatch, tmp_path):
    installed(monkeypatch, None, tmp_path)
    assert installation.install_command("x") == 'pip install "deepseek-learn[x]"'


def test_the_pip_is_that_of_this_interpreter(monkeypatch, tmp_path):
    """`make lab` activates no environment: a bare pip would be the system's."""
    python = Path("/opt/venv/bin/python")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setattr(
        installation.shutil, "which", lambda name: str(python.parent / name)
    )
    assert installation.pip() == "pip"
    monkeypatch.setattr(installation.shutil, "which", lambda name: "/other/bin/pip")
    assert installation.pip() == f"{python} -m pip"
    monkeypatch.setattr(sys, "executable", str(tmp_path / ".venv/bin/python"))
    monkeypatch.chdir(tmp_path)
    assert installation.pip() == ".venv/bin/python -m pip"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "a b/bin/python"))
    assert installation.pip() == '"a b/bin/python" -m pip'


def test_messages_take_their_advice_from_there():
    command = re.escape(installation.install_command("vision"))
    with pytest.raises(MissingPackageError, match=command):
        require("no_such_package", extra="vision", purpose="a test")


def test_nobody_else_says_that_the_package_is_on_an_index():
    """No page does either, only the module that decides."""
    named = re.compile(r"""pip install (?:-\w+ )*["']?deepseek[-_]learn(?!-)\b""")
    assert named.search('pip install "deepseek-learn[vision]"')
    files = [*(ROOT / "deepseek_learn").rglob("*"), *ROOT.glob("*.md")]
    files += [p for f in ("book", "zh", "notebooks") for p in (ROOT / f).rglob("*")]
    text = {".py", ".md", ".toml", ".ipynb", ".sh", ".json"}
    saying = {
        path.relative_to(ROOT).as_posix()
        for path in files
        if path.suffix in text and named.search(path.read_text("utf-8"))
    }
    assert saying == {"deepseek_learn/installation.py"}


def test_doctor_without_metadata_says_how_to_install(monkeypatch):
    def absent():
        raise metadata.PackageNotFoundError("deepseek-learn")

    monkeypatch.setattr(doctor, "requirements_by_extra", absent)
    text = "\n".join(doctor.examine())
    assert "missing  the package deepseek-learn   →   " in text
    assert "install -e" in text


@pytest.mark.parametrize(
    ("lacking", "line"),
    [
        (doctor.COMPILERS, r"missing  C\+\+ compiler   →   .*(g\+\+|xcode-select)"),
        (("cmake",), r"missing  cmake   →   .*install cmake"),
    ],
)
def test_doctor_checks_what_compiles(monkeypatch, lacking, line):
    which = doctor.shutil.which
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(
        doctor.shutil, "which", lambda name: None if name in lacking else which(name)
    )
    assert re.search(line, "\n".join(doctor.build_tools()))


def test_doctor_says_what_brings_the_headers(monkeypatch):
    monkeypatch.setattr(doctor, "find_compiler", lambda: "/usr/bin/c++")
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(doctor, "find_headers", lambda cmake: None)
    *_, last = doctor.build_tools()
    assert last == (
        "  missing  ONNX Runtime's headers   →   sudo apt-get install libonnxruntime-dev"
    )
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name == "cmake" or None)
    monkeypatch.setattr(doctor.platform, "system", lambda: "Darwin")
    *_, last = doctor.build_tools()
    assert last.endswith("brew install onnxruntime")


def test_doctor_finds_headers_as_the_engine_does(tmp_path, monkeypatch):
    cmake, compiler = doctor.shutil.which("cmake"), doctor.find_compiler()
    if not cmake or not compiler:
        pytest.skip("no cmake or no C++ compiler")
    include = tmp_path / "include"
    include.mkdir()
    (include / "onnxruntime_cxx_api.h").write_text("")
    monkeypatch.setenv("CMAKE_PREFIX_PATH", str(tmp_path))
    assert doctor.find_headers(cmake) == str(include)
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    assert doctor.find_headers(cmake) is None
