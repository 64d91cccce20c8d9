"""Insert the public address of the course into its pages and notebooks.

The address is set in a single place, the `Repository` entry of `[project.urls]` in
pyproject.toml. Without this entry, no badge, button, link or metadata shows an address.
Once the entry exists, `write` inserts all of them.
"""

import re
import tomllib
from importlib import metadata
from pathlib import Path

from ... import __version__
from ...catalog import text
from ...errors import DeepSeekLearnError
from ...files import REPOSITORY, atomic_write

COLAB = "https://colab.research.google.com"
BADGE = re.compile(r"\n\n\[!\[[^\]]*\]\([^)]*badge[^)]*\)\]\([^)]*\)")
# a passage between two comments, whose text depends on whether there is an address
BLOCK = re.compile(r"(<!-- published: (\w+) -->\n).*?(<!-- /published -->)", re.DOTALL)
SPEC = re.compile(r"deepseek-learn @ git\+[^\"\s]+|deepseek_learn-[^\"\s]+\.whl")
CITATION = re.compile(r"^repository-code:.*\n", re.MULTILINE)


def repository() -> str | None:
    """Return the public address of the course, or None if it has not been published.

    The address is read from pyproject.toml in a checkout, and otherwise from the
    metadata of the installed package.

    Raises:
        DeepSeekLearnError: if the address does not have the form
            `https://github.com/OWNER/NAME`, which Colab requires.
    """
    pyproject = REPOSITORY / "pyproject.toml"
    address = (
        _address_in_pyproject(pyproject)
        if pyproject.exists()
        else _address_in_metadata()
    )
    if address and not re.fullmatch(r"https://github\.com/[\w.-]+/[\w.-]+", address):
        raise DeepSeekLearnError(
            "Repository in pyproject.toml must be https://github.com/ followed by an "
            f"owner and a name; got {address!r}."
        )
    return address


def pip_spec() -> str:
    """Return the requirement that pip installs on Colab.

    This is the address of the repository or, if there is none, a wheel in the same
    folder.
    """
    if address := repository():
        return f"deepseek-learn @ git+{address}@main"
    return f"deepseek_learn-{__version__}-py3-none-any.whl"


def colab(path: str) -> str | None:
    """Return the URL that opens a notebook in Colab, or None if there is no address."""
    if address := repository():
        place = address.removeprefix("https://github.com/")
        return f"{COLAB}/github/{place}/blob/main/{path}"
    return None


def write(root: str | Path, check: bool = False) -> list[Path]:
    """Update the address in every file that may contain it.

    The exercise notebooks are not included, because `exercises.generate` writes them.

    Args:
        root: the repository.
        check: if True, only report the stale files and do not write anything.

    Returns:
        The files that were out of date.
    """
    root, stale = Path(root), []
    for path in _files(root):
        before = path.read_text(encoding="utf-8")
        after = _updated(before, path.relative_to(root).as_posix())
        if after != before:
            stale.append(path)
            if not check:
                with atomic_write(path) as temporary:
                    temporary.write_text(after, encoding="utf-8")
    return stale


def without_address(source: str) -> str:
    """Return a page or cell without the parts that `write` inserts."""
    return BLOCK.sub(r"\1\3", BADGE.sub("", source))


def _address_in_pyproject(pyproject: Path) -> str | None:
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    return project.get("urls", {}).get("Repository")


def _address_in_metadata() -> str | None:
    for line in metadata.metadata("deepseek-learn").get_all("Project-URL") or []:
        label, _, address = line.partition(", ")
        if label == "Repository":
            return address
    return None


def _files(root: Path) -> list[Path]:
    pages = ("book/*.md", "notebooks/*/*.ipynb")
    chinese = (f"zh/{pattern}" for pattern in pages)
    patterns = ("README*.md", "CITATION.cff", *pages, *chinese)
    return sorted(path for pattern in patterns for path in root.glob(pattern))


def _updated(source: str, path: str) -> str:
    if path.endswith(".ipynb"):
        return _notebook(source, path)
    if path.endswith(".cff"):
        line = f'repository-code: "{repository()}"\n' if repository() else ""
        return CITATION.sub("", source) + line
    return BLOCK.sub(lambda block: _block(block, path), source)


def _lang(path: str) -> str:
    return "zh" if path.startswith("zh/") or ".zh." in path else "en"


def _block(block: re.Match, path: str) -> str:
    """Fill in a block of text, depending on whether the course has been published."""
    start, name, end = block.groups()
    lang = _lang(path)
    tour = ("zh/" if lang == "zh" else "") + "notebooks/basic/00_tour.ipynb"
    badge = _badge(tour, lang)
    if badge:
        words = text(f"published.{name}", lang, badge=badge, wheel=pip_spec())
    else:
        words = text(f"unpublished.{name}", lang, badge=badge, wheel=pip_spec())
    return f"{start}{words}\n{end}"


def _badge(path: str, lang: str) -> str:
    if not (link := colab(path)):
        return ""
    image = f"{COLAB}/assets/colab-badge.svg"
    return f"[![{text('exercises.colab', lang)}]({image})]({link})"


def _notebook(source: str, path: str) -> str:
    """Update the badge below the notebook's title and the requirement for Colab."""
    import nbformat

    notebook = nbformat.reads(source, as_version=4)
    heading = notebook.cells[0]
    badge = _badge(path, _lang(path))
    title, *rest = BADGE.sub("", heading.source).split("\n", 1)
    heading.source = "\n".join([f"{title}\n\n{badge}" if badge else title, *rest])
    for cell in notebook.cells:
        if "setup" in cell.metadata.get("tags", ()):
            cell.source = SPEC.sub(pip_spec(), cell.source)
    return nbformat.writes(notebook) + "\n"
