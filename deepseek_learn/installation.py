"""How this copy of the library was installed, and so how more of it is.

The package is on no index while it is unpublished, so `pip install "deepseek-learn[x]"`
works only for those who got it from one. In a clone the way is `pip install -e`; from a
wheel or a repository, the packages of the extra are named themselves.
"""

import shutil
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

NAME = "deepseek-learn"
ROOT = Path(__file__).resolve().parents[1]  # a clone's root, else site-packages


def install_command(extra: str = "") -> str:
    """What to type, where this process runs, to add `extra` to this installation."""
    suffix = f"[{extra}]" if extra else ""
    if in_a_clone():
        place = "." if Path.cwd() == ROOT else ROOT
        return f'{pip()} install -e "{place}{suffix}"'
    if from_an_index():
        return f'{pip()} install "{NAME}{suffix}"'
    packages = [_without_marker(each) for each in requirements_by_extra()[extra]]
    return " ".join([pip(), "install", *(f'"{package}"' for package in packages)])


def pip() -> str:
    """How to call the pip of this interpreter: `pip` where that is the one on the PATH."""
    python = Path(sys.executable)
    found = shutil.which("pip")
    if found and Path(found).parent == python.parent:
        return "pip"
    if python.is_relative_to(Path.cwd()):
        python = python.relative_to(Path.cwd())
    return f'"{python}" -m pip' if " " in str(python) else f"{python} -m pip"


def in_a_clone() -> bool:
    """Whether this package is imported from a clone of the repository."""
    return (ROOT / "pyproject.toml").is_file()


def from_an_index() -> bool:
    """Whether pip fetched the package by its name (PEP 610: then no URL is recorded)."""
    try:
        return metadata.distribution(NAME).read_text("direct_url.json") is None
    except metadata.PackageNotFoundError:  # a copied folder: the best that can be said
        return True


def requirements_by_extra() -> dict[str, list[Requirement]]:
    """`""` (the base) and each extra → what it needs on this platform.

    Raises:
        importlib.metadata.PackageNotFoundError: when the package is not installed.
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
    """Whether a version that `requirement` accepts is installed."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _without_marker(requirement: Requirement) -> str:
    requirement.marker = None
    return str(requirement)
