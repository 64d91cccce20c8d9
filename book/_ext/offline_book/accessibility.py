"""Repairs of what Sphinx, pandas and the theme write, wherever it occurs."""

import html
import re
from functools import wraps

from deepseek_learn.catalog import text

from .settings import language_of

# The corner above row titles: not a title, so it must not be a header cell.
EMPTY_HEADER = re.compile(r"<th\b([^>]*)>((?:\s|&nbsp;|<p>\s*</p>)*)</th>")

# The arrow beside a page of the contents, which unfolds the pages below it.
TOGGLE = re.compile(
    r"(<a\b[^>]*>)((?:(?!</a>).)*)(</a>\s*<details\b[^>]*>)<summary>", re.DOTALL
)
TAG = re.compile(r"<[^>]+>")


def repair_body(app, pagename, templatename, context, doctree) -> None:
    """Repair the body of a page."""
    if "body" in context:
        context["body"] = without_empty_headers(context["body"])


def without_empty_headers(page: str) -> str:
    """Return the HTML with a plain cell for each header cell without a text."""
    return EMPTY_HEADER.sub(r"<td\1>\2</td>", page)


def repair_contents(app, pagename, templatename, context, doctree) -> None:
    """Give the arrows of the contents in the sidebar names."""
    generate, lang = context.get("generate_toctree_html"), language_of(app)
    if generate is None:
        return

    @wraps(generate)
    def generate_named(**kwargs):
        # the same keywords in the same order: the theme has cached its answer
        contents = generate(**kwargs)
        if kwargs["kind"] != "sidebar":
            return contents
        return with_named_toggles(str(contents), lang)  # the theme returns a soup

    context["generate_toctree_html"] = generate_named


def with_named_toggles(contents: str, lang: str) -> str:
    """Return the HTML of contents in which each toggle says what it unfolds."""

    def name(match: re.Match) -> str:
        title = html.unescape(TAG.sub("", match[2])).strip()
        words = html.escape(text("book.unfold", lang, title=title))
        return f'{match[1]}{match[2]}{match[3]}<summary aria-label="{words}">'

    return TOGGLE.sub(name, contents)
