"""Build the book in both languages, without network access."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ...errors import DeepSeekLearnError, require

# Millions of nodes that live to the end need few collections: a fifth of the time.
BUILD = """import gc; gc.set_threshold(200_000, 20, 1000)
from jupyter_book.cli.main import main; main()"""
COLOR = re.compile(r"\x1b\[[0-9;]*m")


class BookError(DeepSeekLearnError):
    """Raised when the build fails; the message contains the builder's warnings."""


def build(root: str | Path = ".", out: str | Path = "_build/html") -> Path:
    """Build the English book in the folder `out` and the Chinese book in `out/zh`.

    Args:
        root: the repository, which contains `_config.yml`, `_toc.yml` and `zh/`.
        out: the folder for the pages, relative to `root` or absolute. An existing book
            is only replaced if both languages have been built successfully.

    Returns:
        The path of the first page, to open in a browser.

    Raises:
        MissingPackageError: if the builder is not installed; the message names the
            extra that provides it.
        BookError: if `root` is not a clone of the repository, or if the build fails.
            Warnings are treated as errors, and the message lists all of them.
    """
    for package in ("jupyter_book", "plotly", "sphinx-mathjax-offline", "jieba"):
        require(package, extra="course", purpose="Building the book")
    root = Path(root).resolve()
    out = root / out
    if not (root / "_toc.yml").is_file():
        raise BookError(
            f"{root} has no _toc.yml; the book can only be built from a clone."
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".book-", dir=out.parent) as scratch:
        pages = _edition(root, Path(scratch) / "en", root)
        _edition(root / "zh", Path(scratch) / "zh", root).rename(pages / "zh")
        shutil.rmtree(out, ignore_errors=True)
        pages.rename(out)
    return out / "book" / "intro.html"


def _edition(source: Path, scratch: Path, root: Path) -> Path:
    """Build the book in one language and return the folder with its pages."""
    command = [sys.executable, "-c", BUILD, "build", str(source), "--all"]
    command += ["-W", "-n", "--keep-going", "--path-output", str(scratch)]
    # The API reference documents this clone, even if it is not installed.
    paths = [str(root), os.environ.get("PYTHONPATH", "")]
    path = os.pathsep.join(filter(None, paths))
    environment = {**os.environ, "PYTHONPATH": path}
    process = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True
    )
    if process.returncode:
        lines = COLOR.sub("", process.stdout + process.stderr).splitlines()
        warnings = [line for line in lines if re.search("WARNING|ERROR|rror:", line)]
        raise BookError(
            f"The book in {source} did not build:\n"
            + "\n".join(warnings or lines[-30:])
        )
    return scratch / "_build" / "html"
