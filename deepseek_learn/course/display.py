"""How course text is displayed: HTML in a notebook, colors in a terminal, else plain.

The text itself is plain, with code between backticks.
"""

import html
import os
import re
import sys
from dataclasses import dataclass

CODE = re.compile(r"`([^`\n]+)`")
INFO = "#3b82c4"
# JupyterLab's own editor colors; elsewhere a shade that is legible on white and black.
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
    """Text for the learner, optionally with Python code below it."""

    words: str
    code: str = ""

    def __repr__(self) -> str:
        return f"{self.words}\n\n{self.code}" if self.code else self.words

    def _repr_html_(self) -> str:
        return card(INFO, inline(self.words) + (python(self.code) if self.code else ""))

    def in_terminal(self) -> str:
        """The text with ANSI color escape sequences."""
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
    """A colored left border; the theme sets text and background, so dark mode works."""
    style = f"border-left:4px solid {color};padding:.3em .8em;margin:.3em 0"
    return f'<div style="{style}">{content}</div>'


def inline(words: str) -> str:
    """Text as HTML: escaped, backticks as `<code>`, line breaks preserved."""
    return CODE.sub(r"<code>\1</code>", html.escape(words)).replace("\n", "<br>")


def python(code: str) -> str:
    """Python code as HTML, in the notebook editor's colors."""
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
    """Whether this runs in a kernel; IPython in a terminal does not."""
    try:
        from IPython import get_ipython
    except ImportError:
        return False
    return hasattr(get_ipython(), "kernel")
