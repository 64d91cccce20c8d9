"""Trained models that come with the library.

`list()` returns the names of the models, and `card(name)` describes a model and its
measured metrics. `load(name)` returns a trained model, `example(name)` returns an input
for it, and `evaluation(name)` returns the images on which it is evaluated.
`writer(name)` returns a language model with its tokenizer, and `tokenizer(name)` the
tokenizer of a model that reads text. No internet connection is
needed.
Lesson: `notebooks/basic/00_tour.ipynb`.
"""

import builtins

import torch
from torch import Tensor

from ..errors import UnknownNameError
from .evaluation import Evaluation, evaluation
from .models import Card, Model, card, load, register, zoo
from .writing import Writer, tokenizer, writer

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
    "tokenizer",
    "writer",
]


KINDS = ("picture", "series", "text", "volume")


def list(kind: str | None = None) -> builtins.list[str]:
    """Return the names of all models, or only of those for one kind of input.

    Args:
        kind: "picture", "series", "text", "volume", or None for all models.

    Raises:
        UnknownNameError: if the kind is unknown; the message lists the known kinds.

    >>> from deepseek_learn import zoo
    >>> zoo.list("series")
    ['movement_reader', 'movement_reader_dpg', 'wind_power', 'wind_power_dpg']
    """
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind of model", kind, KINDS)
    return [name for name in zoo if kind in (None, zoo[name].kind)]


def example(name: str, batch: int = 1) -> Tensor:
    """Return a random input for the model `name`, generated with seed 0.

    Returns:
        A float tensor of shape `[batch, ...]` with values from 0 to 1. For a language
        model, an integer tensor of token ids of shape `[batch, T]`.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the known models.

    >>> from deepseek_learn import zoo
    >>> zoo.example("fashion_net", batch=4).shape
    torch.Size([4, 1, 28, 28])
    """
    generator, size = torch.Generator().manual_seed(0), (batch, *zoo[name].shape)
    if tokens := zoo[name].vocabulary:
        return torch.randint(tokens, size, generator=generator)
    return torch.rand(size, generator=generator)
