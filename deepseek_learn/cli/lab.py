"""The `deepseek-learn lab` command, which opens the start page in JupyterLab."""

import os
import socket
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from ..course import working_copy
from ..course.start_notebook import PAGES, write_start_pages
from ..errors import DeepSeekLearnError
from ..installation import install_command
from ..measure.memory import REUSE_FREED
from .doctor import course_root


def open_lab(port: int, browser: str, work: str = "") -> NoReturn:
    """Replace this process with a JupyterLab server that opens the start page.

    The server shows the learner's working copy, which is brought up to date first.

    Args:
        port: the port of the server. A port that is already in use is rejected.
        browser: the name of a browser, `""` for the default browser, or `"none"` to
            start the server without opening a browser.
        work: the folder of the working copy; by default `$DEEPSEEK_LEARN_WORK`, or else
            `work/` in the repository.

    Raises:
        DeepSeekLearnError: if the course or JupyterLab is not found, if the port is
            invalid or in use, or if the working copy cannot be in that folder.
        DamagedFileError: if the working copy's own file is damaged.
    """
    root = course_root()
    if root is None:
        raise DeepSeekLearnError(
            "no notebooks were found: clone the repository and run `make lab` in it."
        )
    if find_spec("jupyterlab") is None:
        raise DeepSeekLearnError(
            f"JupyterLab is not installed: run  {install_command('course')}"
        )
    if not 0 < port < 65536:
        raise DeepSeekLearnError(f"PORT must be from 1 to 65535; got {port}.")
    if in_use(port):
        raise DeepSeekLearnError(
            f"port {port} is in use; choose another one: make lab PORT={free_port()}"
        )
    folder = prepare(root, work)
    command = [sys.executable, "-m", "jupyterlab", f"--port={port}"]
    command += ["--ServerApp.port_retries=0", f"--ServerApp.root_dir={folder}"]
    page = f"/lab/tree/{PAGES['en']}"
    command.append(f"--LabApp.default_url={page}")  # also in the printed URL
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # containers and classroom machines
    if browser.lower() == "none":
        command.append("--no-browser")
        print(
            f"Start page: http://localhost:{port}{page} (JupyterLab prints this address "
            f"with its token below).",
            flush=True,
        )
    elif browser:
        command.append(f"--browser={browser}")
    # a kernel that keeps freed memory does not spend its time on page faults
    settings = REUSE_FREED | os.environ | jupyter_folders()
    os.chdir(folder)
    os.execve(sys.executable, command, settings)


def prepare(root: Path, choice: str = "") -> Path:
    """Bring the working copy and its start page up to date, and say what is new.

    Args:
        root: the repository.
        choice: the folder of the working copy, or "" for the default.

    Returns:
        The folder.
    """
    folder = working_copy.folder_of(root, choice)
    for sentence in working_copy.refresh(root, folder):
        print(sentence, flush=True)
    write_start_pages(folder)
    return folder


def jupyter_folders() -> dict[str, str]:
    """Return environment variables that replace read-only Jupyter folders, if any."""
    from jupyter_core.paths import jupyter_config_dir, jupyter_data_dir

    folders = [Path(jupyter_config_dir()), Path(jupyter_data_dir())]
    # a folder that does not exist yet is created in its nearest existing parent
    existing = [next(p for p in (f, *f.parents) if p.exists()) for f in folders]
    if all(os.access(folder, os.W_OK) for folder in existing):
        return {}
    temporary = tempfile.mkdtemp(prefix="deepseek_learn-")
    print(
        f"{Path.home()} is not writable, so Jupyter stores its settings in {temporary} "
        f"for this session.",
        flush=True,
    )
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "IPYTHONDIR")
    return {name: f"{temporary}/{name.lower()}" for name in names} | {
        "JUPYTER_RUNTIME_DIR": f"{temporary}/runtime"
    }


def in_use(port: int) -> bool:
    """Check whether a server is listening on this port on localhost."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
