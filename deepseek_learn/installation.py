"""Determine how this library was installed, and which command adds an extra to it.

The command `pip install "deepseek-learn[x]"` only works if the library was installed
from a package index. A clone of the repository requires `pip install -e` instead. If
the library was installed from a wheel or a repository URL, the command lists the
packages that belong to the extra.
"""

import shutil
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

NAME = "deepseek-learn"
ROOT = Path(__file__).resolve().parents[1]  # the root of the clone, or site-packages


def install_command(extra: str = "") -> str:
    """Return the command that adds `extra` to this installation.

    The command must be run from the current working directory.
    """
    suffix = f"[{extra}]" if extra else ""
    if in_a_clone():
        place = "." if Path.cwd() == ROOT else ROOT
        return f'{pip()} install -e "{place}{suffix}"'
    if from_an_index():
        return f'{pip()} install "{NAME}{suffix}"'
    packages = [_without_marker(each) for each in requirements_by_extra()[extra]]
    return " ".join([pip(), "install", *(f'"{package}"' for package in packages)])


def pip() -> str:
    """Return the command that runs pip for this interpreter.

    This is `pip` if the one on the PATH belongs to this interpreter, and `PYTHON -m
    pip` otherwise.
    """
    python = Path(sys.executable)
    on_path = shutil.which("pip")
    if on_path and Path(on_path).parent == python.parent:
        return "pip"
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f'"{python}" -m pip' if " " in str(python) else f"{python} -m pip"


def in_a_clone() -> bool:
    """Return whether this package is imported from a clone of the repository."""
    return (ROOT / "pyproject.toml").is_file()


def from_an_index() -> bool:
    """Return whether pip installed the package from an index.

    For any other source, pip records a URL in `direct_url.json` (PEP 610).
    """
    try:
        return metadata.distribution(NAME).read_text("direct_url.json") is None
    except metadata.PackageNotFoundError:  # a copied folder, so assume an index
        return True


def requirements_by_extra() -> dict[str, list[Requirement]]:
    """Return the requirements of each extra on this platform.

    The requirements of the library itself are stored under the key `""`.

    Raises:
        importlib.metadata.PackageNotFoundError: if the package is not installed.
    """
    groups: dict[str, list[Requirement]] = {"": []}
    distribution = metadata.distribution(NAME)
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
    """Return whether an installed version satisfies `requirement`."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _without_marker(requirement: Requirement) -> str:
    requirement.marker = None
    return str(requirement)
