"""`start`: the first call in every notebook."""

import random
from typing import Any

import numpy as np

from ..catalog import choose, set_language, text
from ..errors import DeepSeekLearnError
from .lessons import lesson


def start(slug: str, lang: str = "en") -> None:
    """Open a lesson: choose the language, fix the seeds, print the title.

    The seeds of `random`, NumPy's legacy global generator and torch are set to 0, so that
    a notebook is reproducible. From here on, an error that this library raises on purpose
    is shown as one sentence; `%tb` in the next cell shows its traceback.

    Raises:
        UnknownNameError: if there is no such lesson; the message lists the known ones.
        ValueError: if `lang` is neither "en" nor "zh".
    """
    import torch

    current = lesson(slug)
    set_language(lang)
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - learners' code may use the legacy generator
    torch.manual_seed(0)
    _prepare_display()
    _shorten_errors()
    print(
        text("start.line", title=choose(current.title), threads=torch.get_num_threads())
    )


def _prepare_display() -> None:
    """Display a figure that a cell returns, and do not truncate sentences in tables."""
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
    """Show a `DeepSeekLearnError` as one sentence, with a pointer to `%tb`."""
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None:
        shell.set_custom_exc((DeepSeekLearnError,), _show_sentence)


def _show_sentence(
    shell: Any, kind: Any, error: Any, trace: Any, tb_offset: int | None = None
) -> None:
    shell.showtraceback((kind, error, trace), exception_only=True)
