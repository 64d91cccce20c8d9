"""Print the whole book as one PDF per language, with headless Chromium.

The pages of the built book are joined into one HTML page, in the order of its contents,
because a browser writes an outline and working links only within one document. Then
`printing.py` prints it.
"""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from ...catalog import text
from ...errors import DeepSeekLearnError, require
from ...files import atomic_write

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

FRONT = "book/intro"
NAME = "deepseek_learn.pdf"
MARK = '<p id="book-pdf">{words}</p>'
UNPRINTED = (
    "a.headerlink, button, script[src], .prev-next-footer, .ledger-filters, "
    # dozens of pages; the book and the command show them
    "details.ledger-claim, details.ledger-details"
)
HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")


@dataclass(frozen=True)
class Page:
    """A page of the built book.

    Attributes:
        name: its path in the book without suffix, such as "book/intro".
        part: the caption of its part of the contents; empty for the front page.
    """

    name: str
    part: str


def how_to(lang: str) -> str:
    """Return the paragraph of the front page that says how to make the PDF."""
    return MARK.format(words=text("book.pdf_how", lang))


def make(root: str | Path = ".", out: str | Path = "_build/html") -> list[Path]:
    """Print the built book, and link each PDF from its front page.

    Args:
        root: the repository.
        out: the folder of the built book, relative to `root` or absolute.

    Returns:
        The two files, `out/deepseek_learn.pdf` and `out/zh/deepseek_learn.pdf`.

    Raises:
        MissingPackageError: if Playwright is not installed; the message names the extra.
        DeepSeekLearnError: if the book is not built, or no Chromium is installed.
    """
    require("playwright", extra="dev", purpose="Printing the book")
    from .printing import print_page

    out = Path(root) / out
    files = []
    for lang, folder in (("en", out), ("zh", out / "zh")):
        if not (folder / f"{FRONT}.html").is_file():
            raise DeepSeekLearnError(
                f"{folder} has no book; build it first, with `make book`."
            )
        joined, target = folder / "print.html", folder / NAME
        try:
            joined.write_text(join(folder, lang), encoding="utf-8")
            with atomic_write(target) as temporary:
                print_page(joined, temporary)
        finally:
            joined.unlink(missing_ok=True)
        link(folder, lang)
        files.append(target)
    return files


def link(folder: Path, lang: str) -> None:
    """Replace the front page's paragraph on the PDF with a link to it."""
    front = folder / f"{FRONT}.html"
    size = (folder / NAME).stat().st_size / 1e6
    words = text("book.pdf_link", lang, href=f"../{NAME}", size=f"{size:.0f}")
    content = front.read_text(encoding="utf-8")
    with atomic_write(front) as temporary:
        content = content.replace(how_to(lang), MARK.format(words=words))
        temporary.write_text(content, encoding="utf-8")


def pages(folder: Path) -> list[Page]:
    """Return the pages of a built book in the order of its contents."""
    front = _parse(folder / f"{FRONT}.html")
    listed, part = [Page(FRONT, "")], ""
    for node in front.select(
        "nav.bd-links p.caption, nav.bd-links a.reference.internal"
    ):
        if node.name == "p":
            part = node.get_text(strip=True)
            continue
        name, _ = resolve(str(node["href"]), FRONT)
        if name and name not in [page.name for page in listed]:
            listed.append(Page(name, part))
    return listed


def join(folder: Path, lang: str) -> str:
    """Return the whole book as one HTML page that lies in `folder`."""
    book = pages(folder)
    names = {page.name for page in book}
    contents, articles, math, part = [], [], "", ""
    for page in book:
        soup = _parse(folder / f"{page.name}.html")
        article = soup.select_one("article.bd-article")
        assert article is not None  # every page of the theme has one
        if page.part != part:
            part = page.part
            contents.append(f"</ul><p>{escape(part)}</p><ul>")
            articles.append(f'<h1 class="part">{escape(part)}</h1>')
        math = math or "".join(map(str, _math_scripts(soup)))
        prepare(article, page.name, names)
        title = article.find(["h1", "h2"])
        words = title.get_text(" ", strip=True) if title else page.name
        contents.append(f'<li><a href="#{page.name}">{escape(words)}</a></li>')
        articles.append(
            f'<article id="{page.name}">{article.decode_contents()}</article>'
        )
    head = "".join(_head(folder, lang, math))
    listing = f'<nav class="book-contents"><ul>{"".join(contents)}</ul></nav>'
    return (
        f'<!doctype html><html lang="{lang}" data-theme="light">{head}'
        f'<body class="bd-content"><p class="book-title">{text("book.title", lang)}</p>'
        f"{listing}{''.join(articles)}</body></html>"
    )


def prepare(article: "Tag", name: str, names: set[str]) -> None:
    """Make a page's article a part of the joined one: ids, links, files, headings."""
    for node in article.select(UNPRINTED):
        node.decompose()
    for node in article.select("details"):
        node["open"] = ""
    for node in article.select("[id]"):
        node["id"] = f"{name}--{node['id']}"
    for node in article.select("[src]"):
        node["src"] = _local(str(node["src"]), name)
    for node in article.select("a[href]"):
        target, anchor = resolve(str(node["href"]), name)
        if target in names:
            node["href"] = f"#{target}--{anchor}" if anchor else f"#{target}"
        elif "://" not in str(node["href"]):
            del node["href"]  # a file of the book; a PDF has none
    if name != FRONT:  # the parts are the first level of the outline
        for node in article.find_all(HEADINGS):
            node.name = f"h{min(6, int(node.name[1]) + 1)}"


def resolve(href: str, name: str) -> tuple[str, str]:
    """Return the page and the anchor to which a link on page `name` leads."""
    if "://" in href:
        return "", ""
    path, _, anchor = href.partition("#")
    target = _local(path, name) if path else f"{name}.html"
    return target.removesuffix(".html"), anchor


def _local(path: str, name: str) -> str:
    """Return a path, relative to the page `name`, relative to the book's folder."""
    if path.startswith("data:") or "://" in path:
        return path
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), path))


def _math_scripts(soup: "BeautifulSoup") -> "Iterator[Tag]":
    for script in soup.select("head script, body > script"):
        source = str(script.get("src", ""))
        if "mathjax" in source.lower() or "MathJax" in script.get_text():
            if source:
                script["src"] = _local(source, FRONT)
            yield script


def _head(folder: Path, lang: str, math: str) -> Iterator[str]:
    yield f'<head><meta charset="utf-8"><title>{text("book.title", lang)}</title>'
    for sheet in _parse(folder / f"{FRONT}.html").select('link[rel="stylesheet"]'):
        yield f'<link rel="stylesheet" href="{_local(str(sheet["href"]), FRONT)}">'
    yield f'<link rel="stylesheet" href="_static/print.css">{math}'
    for script in ("vendor/plotly.min.js", "figures.js", "print.js"):
        yield f'<script src="_static/{script}"></script>'
    yield "</head>"


def _parse(path: Path) -> "BeautifulSoup":
    from bs4 import BeautifulSoup

    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
