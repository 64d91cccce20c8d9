"""Validate the options of a parameter group of `DeepOpt`."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

from torch import Tensor

from .moments import KINDS


def check_options(options: Mapping[str, Any]) -> None:
    """Raise a `ValueError` if an option of the group is out of range."""
    lr = options["lr"]
    lr = lr.item() if isinstance(lr, Tensor) and lr.numel() == 1 else lr
    _check_positive(lr=lr, adamw_lr=options["adamw_lr"], eps=options["eps"])
    betas = options["betas"]
    if not (isinstance(betas, tuple | list) and len(betas) == 2):
        raise ValueError(f"betas must be two numbers; got {betas!r}.")
    decays = {k: options[k] for k in ("momentum", "first_momentum", "beta2")}
    _check_fraction(**decays, beta_1=betas[0], beta_2=betas[1])
    names = ("weight_decay", "adamw_weight_decay", "momentum_warmup")
    _check_not_negative(**{k: options[k] for k in names})
    _check_choice("state", options["state"], tuple(KINDS))
    _check_choice("nonfinite", options["nonfinite"], ("raise", "skip"))


def _check_positive(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 < number < float("inf")):
            raise ValueError(f"{name} must be a number above 0; got {number!r}.")


def _check_fraction(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 <= number < 1):
            raise ValueError(f"{name} must be at least 0 and below 1; got {number!r}.")


def _check_not_negative(**numbers: float) -> None:
    for name, number in numbers.items():
        if not (isinstance(number, Real) and 0 <= number < float("inf")):
            raise ValueError(f"{name} must be at least 0; got {number!r}.")


def _check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{name} must be one of {known}; got {value!r}.")
