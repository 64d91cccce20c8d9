"""Import Optuna, or explain how to install it, and silence its log messages."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..errors import require

if TYPE_CHECKING:
    import optuna as optuna
else:
    optuna = require("optuna", extra="tuner", purpose="the tuner")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's experimental warnings and its log messages below ERROR."""
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            category = optuna.exceptions.ExperimentalWarning
            warnings.simplefilter("ignore", category)
            # this warning asks for a minimized target, which `_ped_anova` provides
            warnings.filterwarnings("ignore", "PedAnovaImportanceEvaluator computes")
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
