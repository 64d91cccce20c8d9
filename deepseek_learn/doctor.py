"""Is everything there? What is installed, what is missing, and opening JupyterLab."""

import os
import platform
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from packaging.requirements import Requirement

from . import __version__
from .errors import DeepSeekLearnError

TOUR = "notebooks/basic/00_tour.ipynb"


def examine() -> Iterator[str]:
    """Lines about the interpreter, each group of packages, and the course's files."""
    yield f"deepseek_learn {__version__}, Python {platform.python_version()} on " + (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )
    yield device_line()
    for extra, requirements in requirements_by_extra().items():
        missing = [r for r in requirements if not is_installed(r)]
        label = f"extra {extra!r}" if extra else "base packages"
        if not missing:
            yield f"  ok       {label}"
            continue
        names = ", ".join(str(r.name) for r in missing)
        target = f"deepseek-learn[{extra}]" if extra else "deepseek-learn"
        yield f'  missing  {label}: {names}   →   pip install "{target}"'
    root = course_root()
    yield (
        f"  course   {root}"
        if root
        else (
            "  course   the notebooks are not here: clone the repository and run `make lab`"
        )
    )


def device_line() -> str:
    """Whether PyTorch is there and which devices it sees."""
    if find_spec("torch") is None:
        return 'PyTorch is missing   →   pip install "deepseek-learn"'
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return (
        f"PyTorch {torch.__version__}, GPU: {gpu}, threads: {torch.get_num_threads()}"
    )


def requirements_by_extra() -> dict[str, list[Requirement]]:
    """`""` (the base) and each extra → what it needs on this platform."""
    groups: dict[str, list[Requirement]] = {"": []}
    distribution = metadata.distribution("deepseek-learn")
    extras = distribution.metadata.get_all("Provides-Extra") or []
    requirements = [Requirement(r) for r in distribution.requires or []]
    for requirement in requirements:
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            groups[""].append(requirement)
    for extra in extras:
        groups[extra] = [
            r
            for r in requirements
            if r not in groups[""]
            and r.marker is not None
            and r.marker.evaluate({"extra": extra})
        ]
    return groups


def is_installed(requirement: Requirement) -> bool:
    """Whether a version that `requirement` accepts is installed."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def course_root() -> Path | None:
    """The repository with the notebooks: here, above, or around this package."""
    here = Path.cwd()
    for folder in (here, *here.parents, Path(__file__).resolve().parents[1]):
        if (folder / TOUR).exists() and (folder / "pyproject.toml").exists():
            return folder
    return None


def open_lab(port: int, browser: str) -> NoReturn:
    """Become JupyterLab, opened on the tour: this process is its server from then on.

    Args:
        port: where to serve; refused when something listens there already.
        browser: `"none"` opens none, `""` the default one, else one by name.

    Raises:
        DeepSeekLearnError: when the course, JupyterLab or the port is not to be had.
    """
    root = course_root()
    if root is None:
        raise DeepSeekLearnError(
            "the notebooks are not here: clone the repository and run `make lab` in it."
        )
    if find_spec("jupyterlab") is None:
        raise DeepSeekLearnError(
            'JupyterLab is not installed: run  pip install "deepseek-learn[course]"'
        )
    if not 0 < port < 65536:
        raise DeepSeekLearnError(f"PORT must be 1 to 65535; got {port}.")
    if in_use(port):
        raise DeepSeekLearnError(
            f"port {port} is in use; name another one: make lab PORT={free_port()}"
        )
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={root}"]
    command.append(f"--LabApp.default_url=/lab/tree/{TOUR}")  # in the printed link too
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # containers and classroom machines
    if browser.lower() == "none":
        command.append("--no-browser")
    elif browser:
        command.append(f"--browser={browser}")
    settings = os.environ | jupyter_folders()
    os.chdir(root)
    os.execve(sys.executable, command, settings)


def jupyter_folders() -> dict[str, str]:
    """Where Jupyter keeps its own files if the home folder is read-only, else {}."""
    from jupyter_core.paths import jupyter_config_dir, jupyter_data_dir

    wanted = [Path(jupyter_config_dir()), Path(jupyter_data_dir())]
    present = [next(f for f in (w, *w.parents) if f.exists()) for w in wanted]
    if all(os.access(folder, os.W_OK) for folder in present):
        return {}
    instead = tempfile.mkdtemp(prefix="deepseek_learn-")
    print(
        f"{Path.home()} cannot be written: Jupyter's settings go to {instead} this time.",
        flush=True,
    )
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    return {name: f"{instead}/{name.lower()}" for name in names} | {
        "JUPYTER_RUNTIME_DIR": f"{instead}/runtime"
    }


def in_use(port: int) -> bool:
    """Whether a server listens on this port of the local address."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
