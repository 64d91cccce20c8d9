"""Collect and format the output shapes of operators and modules."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves

MOST = 4  # maximum number of shapes shown per output


def leaves(answer: Any) -> Iterator[Tensor]:
    """Yield all tensors in nested tuples, lists, mappings and dataclasses."""
    if isinstance(answer, Mapping):
        answer = list(answer.values())
    elif dataclasses.is_dataclass(answer):
        answer = list(vars(answer).values())
    for leaf in tree_leaves(answer):
        if isinstance(leaf, Tensor):
            yield leaf
        elif isinstance(leaf, Mapping) or dataclasses.is_dataclass(leaf):
            yield from leaves(leaf)


def shapes(out: Any) -> tuple:
    """Return the shape of each tensor that an operator returns."""
    if isinstance(out, Tensor):
        return (_shape(out),)
    return tuple(_shape(leaf) for leaf in tree_leaves(out) if isinstance(leaf, Tensor))


def all_shapes(answer: Any) -> tuple:
    """Return the shape of each tensor that a module returns."""
    return tuple(_shape(leaf) for leaf in leaves(answer))


def in_words(some: tuple) -> str:
    """Format shapes as text, such as "[2, 3], [4]", showing at most `MOST` of them."""
    words = ["[?]" if shape is None else str(list(shape)) for shape in some[:MOST]]
    return ", ".join(words + ["..."] * (len(some) > MOST))


def _shape(tensor: Tensor) -> tuple[int, ...] | None:
    return None if tensor.is_nested else tuple(tensor.shape)
