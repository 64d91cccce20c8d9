"""As on Colab: the wheel, in a clean environment with Colab's versions, runs the tour.

Not tested here: Colab's own page, its GPUs, and pip's download from GitHub.
"""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path

import pytest

from deepseek_learn.course.authoring.links import pip_spec, repository
from deepseek_learn.course.lessons import lessons
from tests.services import absent, need

TOUR = "notebooks/basic/00_tour.ipynb"
# Colab's versions where they differ from ours: at or near pyproject.toml's minimums.
COLAB = {
    "ipywidgets": "7.7.1",
    "widgetsnbextension": "3.6.10",
    "jupyterlab_widgets": "1.1.11",
    "plotly": "5.24.1",
    "ipython": "7.34.0",
    "ipykernel": "6.17.1",
    "nbclient": "0.10.4",
    "numpy": "2.1.3",
    "pandas": "2.2.3",
    "matplotlib": "3.10.0",
}
# These need the classic notebook server, which running a notebook does not.
WITHOUT_REQUIREMENTS = ("ipywidgets", "widgetsnbextension", "jupyterlab_widgets")
# nbformat's jsonschema in our version, whose optional requirements we have
JSONSCHEMA = f"jsonschema=={version('jsonschema')}"
ALSO = ("ipython_genutils", "setuptools>=77,<81", "nbformat", JSONSCHEMA)
PLANT = """import sys, types
google = types.ModuleType("google")
google.colab = types.ModuleType("google.colab")
sys.modules.update({"google": google, "google.colab": google.colab})
"""
RUN = """import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], as_version=4)
asked = nbformat.v4.new_code_cell('''
import json
from importlib.metadata import version
import deepseek_learn
print(json.dumps([deepseek_learn.__file__, {n: version(n) for n in NAMES}]))
'''.replace("NAMES", sys.argv[2]))
notebook.cells.append(asked)
try:
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
except Exception:  # pip in a notebook only prints why it failed
    outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
    print(*(o.text for o in outputs if "text" in o), file=sys.stderr)
    raise
print(asked.outputs[0].text)
"""


@pytest.fixture(scope="module")
def wheel(request, tmp_path_factory) -> Path:
    """The package as users install it."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-q"]
    if all(importlib.util.find_spec(name) for name in ("hatchling", "editables")):
        command.append("--no-build-isolation")
    out = tmp_path_factory.mktemp("dist")
    command += ["-w", str(out), str(request.config.rootpath)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(out.glob("deepseek_learn-*.whl"))


def link_parent_packages(folder: Path) -> None:
    """Our environment's packages except our own: torch is too large to download."""
    folder.mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            ours = "deepseek" in entry.name.lower() or entry.name.startswith(
                "__editable"
            )
            if not ours and entry.suffix != ".pth" and entry.name != "__pycache__":
                (folder / entry.name).symlink_to(entry)


@pytest.fixture(scope="module")
def colab_python(tmp_path_factory) -> Path:
    """An interpreter with Colab's packages where listed above, else ours."""
    home = tmp_path_factory.mktemp("colab")
    subprocess.run([sys.executable, "-m", "venv", str(home / "venv")], check=True)
    python = home / "venv" / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    pip.append("--no-compile")
    pinned = {n: f"{n}=={v}" for n, v in COLAB.items()}
    alone = [pinned.pop(name) for name in WITHOUT_REQUIREMENTS]
    for expected in ([*pinned.values(), *ALSO], ["--no-deps", *alone]):
        done = subprocess.run([*pip, *expected], capture_output=True, text=True)
        if done.returncode:
            absent(f"pip cannot install Colab's packages: {done.stderr[-500:]}")
    site = next((home / "venv" / "lib").glob("python*/site-packages"))
    (site / "sitecustomize.py").write_text(PLANT)
    link_parent_packages(home / "parent")
    # Behind the environment's own packages, so that Colab's versions win.
    (site / "zz_parent.pth").write_text(f"{home / 'parent'}\n")
    return python


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """An environment without our paths and the user's folders."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "JUPY"))}
    folders = {
        "JUPYTER_DATA_DIR": home / "data",
        "JUPYTER_RUNTIME_DIR": home / "runtime",
        "IPYTHONDIR": home / "ipython",
        "XDG_DATA_HOME": home / "user",
    }
    return kept | {name: str(path) for name, path in folders.items()} | more


def test_the_wheels_metadata_shows_an_address_only_if_there_is_one(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith("/METADATA")]
        metadata = archive.read(names[0]).decode()
    assert ("Project-URL: Repository" in metadata) == bool(repository())
    if not repository():
        assert "Home-page" not in metadata
        assert not re.search(r"github(\.com)?/[\w.-]+/deepseek_learn\b", metadata)
    # what the notebooks install if there is no address
    assert repository() or pip_spec() == wheel.name


def license_of(name: str, annotations: list[dict]) -> str:
    """The SPDX expression of a file: that of the last annotation which matches its path."""
    expression = ""
    for annotation in annotations:
        paths = annotation["path"]
        for path in [paths] if isinstance(paths, str) else paths:
            anywhere = re.escape(path).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
            if re.fullmatch(anywhere, name):
                expression = annotation["SPDX-License-Identifier"]
    return expression


def test_the_wheels_license_is_that_of_all_its_files(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = next(name for name in names if name.endswith("/METADATA"))
        lines = archive.read(metadata).decode().splitlines()
        reuse = next(name for name in names if name.endswith("licenses/REUSE.toml"))
        annotations = tomllib.loads(archive.read(reuse).decode())["annotations"]
    (line,) = [line for line in lines if line.startswith("License-Expression: ")]
    files = [name for name in names if ".dist-info/" not in name]
    expressions = {license_of(name, annotations) for name in files}
    assert "CC-BY-NC-SA-4.0" in expressions
    licenses = set(" AND ".join(expressions).split(" AND "))
    assert set(line.partition(": ")[2].split(" AND ")) == licenses
    texts = {Path(n).stem for n in names if "licenses/LICENSES/" in n}
    assert licenses <= texts


def test_the_wheel_has_at_most_60_megabytes(wheel):
    assert wheel.stat().st_size <= 60e6


CHECK = """
import json
import deepseek_learn
from deepseek_learn import course
from deepseek_learn.course import problems
from deepseek_learn.course.problem import define
loaded = problems.load()
problem = problems.get("threshold_for_recall")
answers = problem.reference(), next(iter(problem.wrong.values()))
outcomes = [
    course.check(problem.id, define(answer, problem.answer), seed=1, record=False)
    for answer in answers
]
print(json.dumps([deepseek_learn.__file__, str(problems.FOLDER), len(loaded),
                  [outcome.status for outcome in outcomes]]))
"""


def test_the_wheel_alone_checks_an_answer(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-c", CHECK],
        cwd=tmp_path,
        env=clean_environment(tmp_path, PYTHONPATH=str(tmp_path / "site")),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    file, folder, count, statuses = json.loads(done.stdout.splitlines()[-1])
    assert Path(file).is_relative_to(tmp_path)
    assert Path(folder).is_relative_to(tmp_path)
    assert count == sum(len(each.problems) for each in lessons())
    assert statuses == ["passed", "failed"]


def test_the_tour_runs_from_the_wheel(wheel, colab_python, tmp_path, request):
    need("nbclient")
    (tmp_path / "content").mkdir()
    notebook = tmp_path / "content" / "tour.ipynb"
    shutil.copy(request.config.rootpath / TOUR, notebook)
    # Without an index, pip succeeds only if Colab's versions satisfy our minimums.
    environment = clean_environment(
        tmp_path, DEEPSEEK_LEARN_SPEC=str(wheel), PIP_NO_INDEX="1"
    )
    command = [str(colab_python), "-c", RUN, notebook.name, repr(list(COLAB))]
    done = subprocess.run(
        command, cwd=notebook.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    imported, versions = json.loads(done.stdout.strip().splitlines()[-1])
    assert Path(imported).is_relative_to(colab_python.parents[1])
    assert versions == COLAB
