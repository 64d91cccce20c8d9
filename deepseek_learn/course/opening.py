"""The first line of every notebook."""

import random

import numpy as np

from ..catalogue import choose, set_language, text
from .lessons import lesson


def start(slug: str, lang: str = "en") -> None:
    """Open a lesson: choose the language, fix the seeds, say where we are.

    Seeds of `random`, numpy's old global generator and torch are set to 0, so that a
    notebook shows the same numbers twice.

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
