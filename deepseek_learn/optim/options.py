"""Validate the options of a parameter group of `DeepOpt`."""

from collections.abc import Mapping
from math import inf
from numbers import Real
from typing import Any

from torch import Tensor

from .moments import KINDS

POSITIVE = ("lr", "adamw_lr", "eps")
FRACTIONS = ("momentum", "first_momentum", "beta2", "beta_1", "beta_2")
NOT_NEGATIVE = ("weight_decay", "adamw_weight_decay", "momentum_warmup")
CHOICES = {"state": tuple(KINDS), "nonfinite": ("raise", "skip")}


def check_options(options: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if an option of the group is out of range."""
    lr, betas = options["lr"], options["betas"]
    lr = lr.item() if isinstance(lr, Tensor) and lr.numel() == 1 else lr
    if not (isinstance(betas, tuple | list) and len(betas) == 2):
        raise ValueError(f"betas must be two numbers; got {betas!r}.")
    values = {**options, "lr": lr, "beta_1": betas[0], "beta_2": betas[1]}
    for names, words, fits in (
        (POSITIVE, "a number above 0", lambda x: 0 < x < inf),
        (FRACTIONS, "at least 0 and below 1", lambda x: 0 <= x < 1),
        (NOT_NEGATIVE, "at least 0", lambda x: 0 <= x < inf),
    ):
        for name in names:
            if not (isinstance(values[name], Real) and fits(values[name])):
                raise ValueError(f"{name} must be {words}; got {values[name]!r}.")
    for name, known in CHOICES.items():
        if values[name] not in known:
            raise ValueError(f"{name} must be one of {known}; got {values[name]!r}.")
