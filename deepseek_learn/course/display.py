"""Display the texts of the course in notebooks and terminals.

The texts are plain, with code in backticks. They are converted to HTML in a notebook
and colored in a terminal.
"""

import html
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from ..catalog import language, text

CODE = re.compile(r"`([^`\n]+)`")
INFO = "#3b82c4"
# The editor colors of JupyterLab. Elsewhere, the second color is used, which is legible
# on both white and black.
SYNTAX = {
    "Token.Comment": ("comment", "#6b8a8a"),
    "Token.Keyword": ("keyword", "#2a8a4a"),
    "Token.Literal.Number": ("number", "#2a8a8a"),
    "Token.Literal.String": ("string", "#c0504d"),
    "Token.Name.Builtin": ("builtin", "#5a7fd0"),
    "Token.Name.Class": ("def", "#5a7fd0"),
    "Token.Name.Function": ("def", "#5a7fd0"),
    "Token.Operator": ("operator", "#a060d0"),
}


@dataclass(frozen=True)
class Words:
    """A text for the learner, optionally followed by Python code."""

    words: str
    code: str = ""

    def __repr__(self) -> str:
        return f"{self.words}\n\n{self.code}" if self.code else self.words

    def _repr_html_(self) -> str:
        return card(INFO, inline(self.words) + (python(self.code) if self.code else ""))

    def in_terminal(self) -> str:
        """Return the text with ANSI escape sequences for colors."""
        from pygments import formatters, highlight, lexers

        words = CODE.sub("\x1b[36m\\1\x1b[39m", self.words)
        code = highlight(
            self.code, lexers.PythonLexer(), formatters.TerminalFormatter()
        )
        return f"{words}\n\n{code}" if self.code else words


def show(words: Words) -> None:
    """Display `words` immediately, even in the middle of a cell."""
    if _in_notebook():
        from IPython.display import display

        display(words)
    elif sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        print(words.in_terminal())
    else:
        print(words)


def card(color: str, content: str) -> str:
    """Wrap `content` in a box with a colored left border.

    All other colors come from the theme, so the box also works in dark mode.
    """
    style = f"border-left:4px solid {color};padding:.3em .8em;margin:.3em 0"
    return f'<div style="{style}">{content}</div>'


def duration(minutes: float, lang: str | None = None) -> str:
    """Return a time in words: in minutes below two hours, and otherwise in hours."""
    if minutes < 120:
        return text("duration.minutes", lang, minutes=round(minutes))
    return text("duration.hours", lang, hours=round(minutes / 60))


def enumeration(words: Iterable[str], lang: str | None = None) -> str:
    """Join words with the commas of the language."""
    return {"en": ", ", "zh": "、"}[lang or language()].join(words)


def html_bar(value: int, total: int, label: str, width: str) -> str:
    """Return a progress bar, with a label for screen readers."""
    return (
        f'<progress value="{value}" max="{max(total, 1)}" style="width:{width}" '
        f'aria-label="{html.escape(label)}"></progress>'
    )


def inline(words: str) -> str:
    """Convert text to HTML, with backticks as `<code>` and newlines as `<br>`."""
    return CODE.sub(r"<code>\1</code>", html.escape(words)).replace("\n", "<br>")


def python(code: str) -> str:
    """Convert Python code to HTML with the syntax colors of the notebook editor."""
    from pygments.lexers import PythonLexer

    tokens = PythonLexer().get_tokens(code)
    return f"<pre>{''.join(_colored(str(kind), value) for kind, value in tokens)}</pre>"


def _colored(kind: str, value: str) -> str:
    value = html.escape(value)
    for prefix, (name, shade) in SYNTAX.items():
        if kind.startswith(prefix):
            color = f"var(--jp-mirror-editor-{name}-color,{shade})"
            return f'<span style="color:{color}">{value}</span>'
    return value


def _in_notebook() -> bool:
    """Return whether the code runs in a Jupyter kernel, as opposed to a terminal."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
