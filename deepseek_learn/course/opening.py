"""The function `start`, which is the first call in every notebook."""

import random
from typing import Any

import numpy as np

from ..catalog import choose, set_language, text
from ..errors import DeepSeekLearnError
from .lessons import lesson


def start(slug: str, lang: str = "en") -> None:
    """Start a lesson: set the language, seed the random generators and print the title.

    The random generators in `random`, NumPy (the legacy global one) and PyTorch are
    seeded with 0 to make the notebook reproducible. From then on, exceptions defined by
    this library are shown as a single sentence; run `%tb` in the next cell to see the
    traceback.

    Raises:
        UnknownNameError: if there is no such lesson; the message lists all lessons.
        ValueError: if `lang` is neither "en" nor "zh".

    >>> from deepseek_learn import course
    >>> course.start("tour")
    Lesson “A tour: find the broken solar cells”. Seeds are fixed; ...
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
    """Display figures returned by a cell, and do not truncate text in tables."""
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
    """Show only the message of a `DeepSeekLearnError`, with a reference to `%tb`."""
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
