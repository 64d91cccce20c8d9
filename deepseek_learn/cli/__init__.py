"""The `deepseek-learn` command-line tool, a thin wrapper around public functions."""

import os
import sys

import typer

from ..errors import DeepSeekLearnError
from ..escaping import printable_lines
from .commands import app


def main() -> None:
    """Run the command-line tool.

    If an exception is raised, even an unexpected one, print it as one sentence and exit
    with code 1. Set the environment variable DEEPSEEK_LEARN_TRACEBACK to 1 to see a
    traceback instead.
    """
    try:
        app()
    except Exception as error:
        if os.environ.get("DEEPSEEK_LEARN_TRACEBACK") == "1":
            raise
        words = printable_lines(sentence(error))  # it may name a stranger's file
        typer.echo(f"deepseek-learn: {words}", err=True)
        sys.exit(1)


def sentence(error: Exception) -> str:
    """Return a one-sentence message for an exception.

    The messages of this library's own exceptions are used unchanged.
    """
    if isinstance(error, DeepSeekLearnError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        place = error.filename2 or error.filename
        return f"{place}: {error.strerror}." if place else f"{error.strerror}."
    first = next(iter(str(error).strip().splitlines()), "")
    if first and isinstance(error, ValueError | OSError):
        return first
    message = f"{type(error).__name__}: {first}" if first else type(error).__name__
    return f"{message} (DEEPSEEK_LEARN_TRACEBACK=1 shows where)"
