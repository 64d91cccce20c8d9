"""Repairs of what Sphinx, pandas and the theme write, wherever it occurs."""

import re

# The corner above row titles: not a title, so it must not be a header cell.
EMPTY_HEADER = re.compile(r"<th\b([^>]*)>((?:\s|&nbsp;|<p>\s*</p>)*)</th>")


def repair_body(app, pagename, templatename, context, doctree) -> None:
    """Repair the body of a page."""
    if "body" in context:
        context["body"] = without_empty_headers(context["body"])


def without_empty_headers(html: str) -> str:
    """Return the HTML with a plain cell for each header cell without a text."""
    return EMPTY_HEADER.sub(r"<td\1>\2</td>", html)
