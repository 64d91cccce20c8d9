"""The link on each page to the same page in the other language, where it exists."""

import fnmatch
from pathlib import Path

import yaml

from .settings import ROOT, is_zh


def pages_of(edition: Path) -> set[str]:
    """Return the existing pages that an edition's `_toc.yml` names, without suffix."""
    names: list[str] = []

    def collect(node) -> None:
        if isinstance(node, list):
            for item in node:
                collect(item)
        elif isinstance(node, dict):
            names.extend(node[key] for key in ("root", "file", "glob") if key in node)
            collect(list(node.values()))

    collect(yaml.safe_load((edition / "_toc.yml").read_text("utf-8")))
    sources = [
        path.relative_to(edition).with_suffix("").as_posix()
        for folder in ("book", "notebooks", "exercises")
        for path in (edition / folder).rglob("*")
        if path.suffix in (".md", ".ipynb")
    ]
    return {page for page in sources for name in names if fnmatch.fnmatch(page, name)}


def find_other_edition(app) -> None:
    app.other_pages = pages_of(ROOT if is_zh(app) else ROOT / "zh")


def set_language_switch(app, pagename, templatename, context, doctree) -> None:
    if pagename in app.other_pages:
        up = context["pathto"]("", 1) + ("../" if is_zh(app) else "zh/")
        context["other_language"] = "en" if is_zh(app) else "zh-CN"
        context["other_edition"] = f"{up}{pagename}.html"
