"""Optuna, or a sentence that says how to install it; and Optuna without its chatter."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import require

optuna = require("optuna", extra="tuner", purpose="the tuner")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log below errors, and its warnings of experimental features."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            kind = optuna.exceptions.ExperimentalWarning
            warnings.simplefilter("ignore", kind)
            # it reminds of minimizing, which `Study.importances` sees to
            warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")
            yield
    finally:
        optuna.logging.set_verbosity(before)
