"""Where the course lives: the address stands in pyproject.toml's `[project.urls]`."""

import tomllib
from importlib import metadata

from .problem import REPOSITORY

COLAB = "https://colab.research.google.com/github"


def repository() -> str:
    """The public address, from our checkout or else the installed package."""
    pyproject = REPOSITORY / "pyproject.toml"
    if pyproject.exists():
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        return project["urls"]["Repository"]
    for line in metadata.metadata("deepseek-learn").get_all("Project-URL") or []:
        label, _, address = line.partition(", ")
        if label == "Repository":
            return address
    raise LookupError("the package deepseek-learn names no Repository in its metadata.")


def pip_spec() -> str:
    """What pip installs the course from, on Colab."""
    return f"deepseek-learn @ git+{repository()}@main"


def colab(path: str) -> str:
    """The address that opens the notebook `path` of the repository in Colab."""
    owner_and_name = repository().removeprefix("https://github.com/")
    return f"{COLAB}/{owner_and_name}/blob/main/{path}"
