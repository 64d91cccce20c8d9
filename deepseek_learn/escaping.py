"""Show the text of a stranger so that it can neither control a terminal nor a page.

A file name, a title or an error message may hold escape sequences that repaint a
terminal, characters that reverse the direction of reading, or tags.
"""

import re

LONGEST = 200  # characters of what a stranger wrote
SIGNS = re.compile(r"[!\"#$&'*<=>@\[\\\]^_`{|}~]")  # of HTML, Markdown and MyST


def printable(value: object, longest: int = LONGEST) -> str:
    r"""Return the text of a value on one line, in visible characters only.

    Others, such as escapes, line breaks and bidirectional overrides, become `\x1b`.
    """
    words = str(value)
    visible = (c if c.isprintable() else ascii(c)[1:-1] for c in words[:longest])
    return "".join(visible) + ("..." if len(words) > longest else "")


def printable_lines(words: str) -> str:
    """Return a text of several lines, each of them `printable`, with tabs as spaces."""
    lines = words.replace("\r\n", "\n").expandtabs().split("\n")
    return "\n".join(printable(line, len(line)) for line in lines)


def markdown(value: object) -> str:
    """Return Markdown that shows the text of a value as it is, also in a table's cell.

    Entities never count as syntax (CommonMark, 2.5).
    """
    return SIGNS.sub(lambda sign: f"&#{ord(sign[0])};", printable(value, 1000))
