"""Setup: import cost, the doctor, the command line, files that must be up to date."""

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from typer.testing import CliRunner

import deepseek_learn
from deepseek_learn import cli
from deepseek_learn.cli import doctor, lab
from deepseek_learn.errors import DeepSeekLearnError

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "deepseek_learn", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_import_is_light():
    code = (
        "import sys, deepseek_learn, deepseek_learn.course\n"
        "heavy = {'torch', 'pandas', 'plotly', 'matplotlib', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_what_only_shards_need_is_not_imported():
    code = (
        "import sys, deepseek_learn.training, deepseek_learn.optim.rules\n"
        "assert 'torch.distributed.tensor' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_resolve_and_others_do_not():
    for name in deepseek_learn.__all__:
        assert getattr(deepseek_learn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Wizard'"):
        deepseek_learn.Wizard  # noqa: B018


@pytest.mark.slow
def test_imports_follow_the_rules_of_the_house():
    """Downwards only, and no circles: `[tool.importlinter]` in pyproject.toml."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


def test_doctor_names_what_is_missing_and_the_command(monkeypatch):
    missing = Requirement("no-such-package>=1")
    groups = {"": [], "vision": [missing], "course": []}
    monkeypatch.setattr(doctor, "requirements_by_extra", lambda: groups)
    text = "\n".join(doctor.examine())
    assert "missing  extra 'vision': no-such-package" in text
    assert 'install -e "' in text
    assert '[vision]"' in text
    assert "ok       base packages" in text
    assert str(ROOT) in text


def test_doctor_shows_where_a_tool_is_or_how_to_install_it(monkeypatch):
    advice = {"apt": "apt-get install thing", "elsewhere": "see its page"}
    line = doctor.tool_line("thing", "/usr/bin/thing", advice)
    assert line.split() == ["ok", "thing:", "/usr/bin/thing"]
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name == "apt-get" or None)
    missing = doctor.tool_line("thing", None, advice)
    assert missing.split() == ["missing", "thing", "→", "apt-get", "install", "thing"]
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.tool_line("thing", None, advice).endswith("see its page")


def test_doctor_knows_the_extras():
    assert set(doctor.requirements_by_extra()) == {
        "",
        *PROJECT["optional-dependencies"],
    }


@pytest.mark.slow
def test_command_line_shows_and_refuses():
    shown = CliRunner().invoke(cli.app, ["zoo", "fashion_net"])
    assert "MIT (data)" in shown.output
    refused = run("zoo", "resnet")
    assert refused.returncode == 1
    assert refused.stderr.startswith("deepseek-learn: zoo model 'resnet' is not known")
    assert len(refused.stderr.strip().splitlines()) == 1


def test_lab_refuses_a_port_in_use_and_offers_another(monkeypatch):
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        monkeypatch.chdir(ROOT)
        with pytest.raises(
            DeepSeekLearnError, match=rf"port {port} is in use.*PORT=\d+"
        ):
            lab.open_lab(port, "none")
    with pytest.raises(
        DeepSeekLearnError, match="PORT must be from 1 to 65535; got 99999"
    ):
        lab.open_lab(99999, "none")


def test_lab_goes_on_when_the_home_folder_is_read_only(monkeypatch, capsys):
    assert lab.jupyter_folders() == {}
    monkeypatch.setattr(lab.os, "access", lambda path, mode: False)
    folders = lab.jupyter_folders()
    assert set(folders) >= {"JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"}
    assert str(Path.home()) in capsys.readouterr().out
    for folder in folders.values():
        Path(folder).mkdir(parents=True)  # its parent is writable


def test_environment_yml_has_the_extras():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = [d["pip"] for d in environment["dependencies"] if isinstance(d, dict)]
    extras = PROJECT["optional-dependencies"]
    expected = {*PROJECT["dependencies"], "-e ."}
    chosen = (
        "course",
        "vision",
        "tuner",
        "language",
        "hf",
        "deploy",
        "medical",
        "movement",
        "federated",
        "certificate",
    )
    expected |= {package for extra in chosen for package in extras[extra]}
    assert set(pip) == expected


def requirements(path: Path) -> list[Requirement]:
    """The requirements in a file of constraints, or in a lock, without the hashes."""
    lines = [line.partition(" --hash")[0] for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith("#")]


def wanted() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [*map(Requirement, itertools.chain(PROJECT["dependencies"], *extras))]


def test_constraints_satisfy_pyproject():
    pins = {
        canonicalize_name(requirement.name): requirement.specifier
        for requirement in requirements(ROOT / "constraints.txt")
    }
    for requirement in wanted():
        pin = pins.get(canonicalize_name(requirement.name))
        if pin is not None and len(pin) == 1:
            (version,) = [s.version for s in pin]
            assert requirement.specifier.contains(version), requirement


def test_the_locks_have_the_tested_versions_and_a_hash_for_every_file():
    """`make lock` writes them; PyTorch alone has builds that no lock could name."""
    pinned = {
        (canonicalize_name(requirement.name), str(requirement.specifier))
        for requirement in requirements(ROOT / "constraints.txt")
    }
    locks = [ROOT / ".ci" / f"{name}.lock" for name in ("course", "test")]
    locked = {}
    for requirement in itertools.chain.from_iterable(map(requirements, locks)):
        name, version = canonicalize_name(requirement.name), str(requirement.specifier)
        assert (name, version) in pinned or requirement.marker, requirement
        locked[name] = version
    names = {canonicalize_name(requirement.name) for requirement in wanted()}
    assert names - set(locked) == {"torch", "torchvision", "triton"}
    for line in "".join(path.read_text() for path in locks).splitlines():
        assert re.search(r" --hash=sha256:[0-9a-f]{64}( |$)", line), line[:60]


@pytest.mark.parametrize(
    "name", ["constraints.txt", ".ci/course.lock", ".ci/test.lock"]
)
def test_no_local_versions_or_hosts_in_the_lock(name):
    text = (ROOT / name).read_text()
    assert "+cpu" not in text
    assert "://" not in text
    assert " @ " not in text


def test_there_is_no_circle_of_files():
    """Among all imports, those for the type checker and those in functions included."""
    graph = grimp.build_graph("deepseek_learn")
    edges = {m: graph.find_modules_directly_imported_by(m) for m in graph.modules}

    def reachable(start):
        modules, todo = set(), [*edges[start]]
        while todo:
            module = todo.pop()
            if module not in modules:
                modules.add(module)
                todo += edges[module]
        return modules

    ahead = {module: reachable(module) for module in edges}
    circles = {
        frozenset(other for other in ahead[module] if module in ahead[other])
        for module in edges
        if module in ahead[module]
    }
    assert circles == set()


def test_a_class_name_has_one_meaning():
    """Private names included: whoever greps for a class finds one definition."""
    places: dict[str, list[str]] = {}
    for path in sorted(Path(deepseek_learn.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.name)
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
