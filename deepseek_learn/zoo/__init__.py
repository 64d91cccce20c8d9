"""Trained models that travel with the library, each with a card.

`list()` names them, `card(name)` says what one is and what it measured, `load(name)`
gives it ready to use, `example(name)` an input for it, `evaluation(name)` the pictures it
is measured on. No network is needed.
"""

import builtins

import torch
from torch import Tensor

from .evaluation import Evaluation, evaluation
from .models import Card, Model, card, load, register, zoo

__all__ = [
    "Card",
    "Evaluation",
    "Model",
    "card",
    "evaluation",
    "example",
    "list",
    "load",
    "register",
]


def list() -> builtins.list[str]:
    """The names of the models."""
    return builtins.list(zoo)


def example(name: str, batch: int = 1) -> Tensor:
    """An input that the model `name` takes: `[batch, ...]`, uniform in 0..1, seed 0.

    Raises:
        UnknownNameError: naming the models there are.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.rand((batch, *zoo[name].shape), generator=generator)
