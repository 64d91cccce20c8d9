"""Changes in a page's source: generated tables, hidden cells, links, no badges."""

import json
import re
from functools import partial

from .settings import ROOT, is_zh, language_of

# A badge is loaded from Colab, for readers on GitHub; the book has its own button.
BADGE = re.compile(r"\[!\[[^\]]*\]\(https://[^)]*badge[^)]*\)\]\([^)]*\)")
HIDDEN = "remove-cell"  # Jupyter Book's tag
SETUP = "setup"  # the tag of the cell that installs the library on Colab
MARK = re.compile(r"^# NBVAL_\w+\n?", re.MULTILINE)  # for the tests, not for readers


def claims_glance(lang: str) -> str:
    from deepseek_learn.course import ledger  # only the page of claims needs it
    from deepseek_learn.ledger import page

    return page.glance(ledger().claims, lang)


def claims_tables(lang: str) -> str:
    from deepseek_learn.course import ledger

    return ledger().to_markdown(lang)


def versus_bars(lang: str) -> str:
    from deepseek_learn.ledger import versus

    return versus.to_html(lang)


def paper_tables(lang: str) -> str:
    from deepseek_learn.course.authoring import find_it

    return find_it.to_markdown(ROOT, lang)


def pdf_words(lang: str) -> str:
    from deepseek_learn.course.authoring import pdf

    return pdf.how_to(lang)


def leaderboard_table(track: str, lang: str) -> str:
    from deepseek_learn.leaderboard import to_markdown

    return to_markdown(track, lang)


def diagnostic_form(lang: str) -> str:
    """Return the diagnostic, with links to the lessons of this or the English edition."""
    from deepseek_learn.course import diagnostic

    def link(lesson) -> str:
        english = lang == "zh" and not (ROOT / "zh/notebooks" / lesson.file).exists()
        page = f"notebooks/{lesson.file}".removesuffix(".ipynb")
        return f"{'../../' if english else '../'}{page}.html"

    return diagnostic(lang).to_html(link)


TRACKS = ("grouping", "attention", "update_rules", "samplers")
GENERATED = {
    "<!-- claims-glance -->": claims_glance,
    "<!-- claims-ledger -->": claims_tables,
    "<!-- versus -->": versus_bars,
    "<!-- find-it -->": paper_tables,
    "<!-- book-pdf -->": pdf_words,
    "<!-- diagnostic -->": diagnostic_form,
    **{f"<!-- leaderboard {t} -->": partial(leaderboard_table, t) for t in TRACKS},
}


def read_source(app, docname, source) -> None:
    """Fill in generated tables, drop badges and marks, fix links into English pages."""
    source[0] = BADGE.sub("", source[0])
    if app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = without_machinery(source[0])
    for mark, tables in GENERATED.items():
        if mark in source[0]:
            source[0] = source[0].replace(mark, tables(language_of(app)))
    if is_zh(app):
        # zh/book/x.md links ../../book/y.md (right on GitHub) for a page that only the
        # English book has; Sphinx would offer that file for download.
        up = "../" * (docname.count("/") + 1)
        # No bracket inside: in a notebook's JSON the text stands in a list.
        link = (
            rf"(?<!!)\[([^\[\]]+)\]\({re.escape(up)}((?:book|notebooks)/[\w/]+)\.\w+\)"
        )
        source[0] = re.sub(link, rf"<a href='{up}\2.html'>\1</a>", source[0])


def without_machinery(notebook: str) -> str:
    """Hide the cell that installs the library, and drop the marks for the tests."""
    content = json.loads(notebook)
    for cell in content["cells"]:
        if cell["cell_type"] != "code":
            continue
        cell["source"] = MARK.sub("", "".join(cell["source"]))
        tags = cell["metadata"].get("tags", [])
        if SETUP in tags:
            cell["metadata"]["tags"] = [*tags, HIDDEN]
    return json.dumps(content, ensure_ascii=False)


def markdown_docstring(app, what, name, obj, options, lines) -> None:
    """Double the single backticks in docstrings, as reStructuredText requires."""
    marked = re.compile(r"(:\w+:`[^`]+`|``[^`]+``)|`([^`]+)`")
    text = marked.sub(lambda m: m[1] or f"``{m[2]}``", "\n".join(lines))
    lines[:] = text.split("\n")
