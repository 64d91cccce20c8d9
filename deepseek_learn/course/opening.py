"""The first line of every notebook."""

import random

import numpy as np

from ..catalog import choose, set_language, text
from ..errors import DeepSeekLearnError
from .lessons import lesson


def start(slug: str, lang: str = "en") -> None:
    """Open a lesson: choose the language, fix the seeds, say where we are.

    Seeds of `random`, numpy's old global generator and torch are set to 0, so that a
    notebook shows the same numbers twice. From here on an error that this library raises
    on purpose is shown as its sentence; `%tb` in the next cell shows where it came from.

    Raises:
        UnknownNameError: naming the lessons there are.
        ValueError: for a language that is not "en" or "zh".
    """
    import torch

    opened = lesson(slug)
    set_language(lang)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - learners' code may use the old generator
    torch.manual_seed(0)
    _prepare_display()
    _shorten_errors()
    print(
        text("start.line", title=choose(opened.title), threads=torch.get_num_threads())
    )


def _prepare_display() -> None:
    """Show figures that a cell returns, as pyplot's would be, and whole sentences."""
    import pandas as pd

    pd.set_option("display.max_colwidth", None)
    try:
        from IPython import get_ipython
        from IPython.core.pylabtools import select_figure_formats
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:
        select_figure_formats(shell, {"png"})


def _shorten_errors() -> None:
    """A notebook shows a `DeepSeekLearnError` as one sentence, and names `%tb`."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((DeepSeekLearnError,), _show_sentence)


def _show_sentence(shell, kind, error, trace, tb_offset=None) -> None:
    shell.showtraceback((kind, error, trace), exception_only=True)
