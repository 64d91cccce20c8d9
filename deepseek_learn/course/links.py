"""Where the course lives: the address stands in pyproject.toml's `[project.urls]`."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from ..files import whole
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


def shown_in(root: Path) -> list[Path]:
    """The files that show the address, other than the generated exercises."""
    patterns = ("*.md", "*.yml", "CITATION.cff", "zh/_config.yml")
    patterns += ("notebooks/*/*.ipynb", "zh/notebooks/*/*.ipynb", "book/*.md")
    patterns += ("zh/book/*.md",)
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def write(root: str | Path, check: bool = False) -> list[Path]:
    """Bring every file that shows the repository's address in step with pyproject.toml.

    An address is known by its repository name after any owner, also inside a Colab
    link (`github/OWNER/NAME/`) and a pip requirement.

    Returns:
        The files that were (`check`: are) out of step.
    """
    path = repository().removeprefix("https://github.com/")
    name = path.partition("/")[2]
    # an address of GitHub or Colab with this repository's name, whoever owns it
    known = re.compile(rf"(github(?:\.com)?/)[\w.-]+/{re.escape(name)}(?![\w-])")
    stale = []
    for file in shown_in(Path(root)):
        text = file.read_text(encoding="utf-8")
        wanted = known.sub(rf"\g<1>{path}", text)
        if wanted != text:
            stale.append(file)
            if not check:
                with whole(file) as temporary:
                    temporary.write_text(wanted, encoding="utf-8")
    return stale


def pip_spec() -> str:
    """What pip installs the course from, on Colab."""
    return f"deepseek-learn @ git+{repository()}@main"


def colab(path: str) -> str:
    """The address that opens the notebook `path` of the repository in Colab."""
    owner_and_name = repository().removeprefix("https://github.com/")
    return f"{COLAB}/{owner_and_name}/blob/main/{path}"
