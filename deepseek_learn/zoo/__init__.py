"""Trained models that travel with the library, each with a card.

`list()` names them, `card(name)` says what one is and what it measured, `load(name)`
gives it ready to use, `example(name)` an input for it, `evaluation(name)` the pictures it
is measured on; `writer(name)` gives a language model with its tokenizer. No network is
needed.
"""

import builtins

import torch
from torch import Tensor

from ..errors import UnknownNameError
from .evaluation import Evaluation, evaluation
from .models import Card, Model, card, load, register, zoo
from .writing import Writer, writer

__all__ = [
    "Card",
    "Evaluation",
    "Model",
    "Writer",
    "card",
    "evaluation",
    "example",
    "list",
    "load",
    "register",
    "writer",
]


KINDS = ("picture", "text")


def list(kind: str | None = None) -> builtins.list[str]:
    """The names of the models, or of those that take a "picture", or "text".

    Raises:
        UnknownNameError: for another kind, naming those there are.
    """
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of model", kind, KINDS)
    kinds = {name: KINDS[zoo[name].vocabulary is not None] for name in zoo}
    return [name for name in kinds if kind in (None, kinds[name])]


def example(name: str, batch: int = 1) -> Tensor:
    """An input that the model `name` takes: `[batch, ...]`, uniform in 0..1, seed 0.

    For a language model: tokens `[batch, T]`, each as likely as the others.

    Raises:
        UnknownNameError: naming the models there are.
    """
    generator, size = torch.Generator().manual_seed(0), (batch, *zoo[name].shape)
    if zoo[name].vocabulary:
        return torch.randint(zoo[name].vocabulary, size, generator=generator)
    return torch.rand(size, generator=generator)
