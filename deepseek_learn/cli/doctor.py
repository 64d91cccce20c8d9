"""The `deepseek-learn doctor` command, which checks the installation."""

import os
import platform
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from .. import __version__
from ..installation import install_command, is_installed, requirements_by_extra

TOUR = "notebooks/basic/00_tour.ipynb"
ENGINE = Path(__file__).parents[1] / "deploy" / "engine"
COMPILERS = ("c++", "g++", "clang++")
COMPILER = {
    "apt": "sudo apt-get install g++",
    "Darwin": "xcode-select --install",
    "elsewhere": "install g++ or clang++ with your system's packages",
}
CMAKE = {
    "apt": "sudo apt-get install cmake",
    "Darwin": "brew install cmake",
    "elsewhere": "install cmake with your system's packages, or pip install cmake",
}
HEADERS = {
    "apt": "sudo apt-get install libonnxruntime-dev",
    "Darwin": "brew install onnxruntime",
    "elsewhere": "unpack an ONNX Runtime release and set CMAKE_PREFIX_PATH to it",
}


def examine() -> Iterator[str]:
    """Yield report lines about the environment, packages, tools and course."""
    yield f"deepseek_learn {__version__}, Python {platform.python_version()} on " + (
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    )
    yield device_line()
    yield from packages()
    yield from build_tools()
    root = course_root()
    yield (
        f"  course   {root}"
        if root
        else ("  course   no notebooks found: clone the repository and run `make lab`")
    )


def packages() -> Iterator[str]:
    """Yield one line per extra, with its missing packages and how to install them."""
    try:
        groups = requirements_by_extra()
    except metadata.PackageNotFoundError:
        yield f"  missing  the package deepseek-learn   →   {install_command()}"
        return
    for extra, requirements in groups.items():
        missing = [r for r in requirements if not is_installed(r)]
        label = f"extra {extra!r}" if extra else "base packages"
        if not missing:
            yield f"  ok       {label}"
            continue
        names = ", ".join(str(r.name) for r in missing)
        yield f"  missing  {label}: {names}   →   {install_command(extra)}"


def device_line() -> str:
    """Report the PyTorch version and the GPU, or how to install PyTorch."""
    if find_spec("torch") is None:
        return f"PyTorch is missing   →   {install_command()}"
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    return (
        f"PyTorch {torch.__version__}, GPU: {gpu}, threads: {torch.get_num_threads()}"
    )


def build_tools() -> Iterator[str]:
    """Yield one line each for the C++ compiler, cmake, and the ONNX Runtime headers.

    The DPG kernels need only the compiler. The C++ engine needs all three.
    """
    compiler = find_compiler()
    yield tool_line("C++ compiler", compiler, COMPILER)
    cmake = shutil.which("cmake")
    yield tool_line("cmake", cmake, CMAKE)
    if not compiler or not cmake:  # both are needed to locate the headers
        return
    yield tool_line("ONNX Runtime's headers", find_headers(cmake), HEADERS)


def tool_line(name: str, place: str | None, advice: dict[str, str]) -> str:
    """Report the path of a tool, or how to install it if it is missing."""
    if place:
        return f"  ok       {name}: {place}"
    system = "apt" if shutil.which("apt-get") else platform.system()
    return f"  missing  {name}   →   {advice.get(system, advice['elsewhere'])}"


def find_compiler() -> str | None:
    """Return the path of the compiler set in `CXX`, or else of a system compiler."""
    requested = shlex.split(os.environ.get("CXX", ""))[:1]
    return next(filter(None, map(shutil.which, requested or COMPILERS)), None)


def find_headers(cmake: str) -> str | None:
    """Return the path where cmake finds the ONNX Runtime headers, or None."""
    with tempfile.TemporaryDirectory(prefix="deepseek_learn_") as folder:
        command = [cmake, "-S", str(ENGINE), "-B", folder]
        process = subprocess.run(command, capture_output=True)
        cache = Path(folder) / "CMakeCache.txt"
        if process.returncode or not cache.exists():
            return None
        match = re.search(r"^ORT_INCLUDE:PATH=(.*)$", cache.read_text(), re.MULTILINE)
    return match[1] if match else None


def course_root() -> Path | None:
    """Return the root of the repository, or None if it cannot be found.

    The current folder and its parents take precedence over this package's own checkout.
    """
    cwd = Path.cwd()
    for folder in (cwd, *cwd.parents, Path(__file__).resolve().parents[2]):
        if (folder / TOUR).exists() and (folder / "pyproject.toml").exists():
            return folder
    return None
