"""Create random inputs for a model."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


def random_inputs(model: nn.Module, input_size: Sequence[Any]) -> tuple[Tensor, ...]:
    """Return random tensors with values in [0, 1) as inputs for a model.

    The tensors have the device and dtype of the model's weights. The random numbers are
    the same on every call.

    Args:
        input_size: the shape of a single input, or a sequence of shapes, one per input.

    Raises:
        ValueError: if `input_size` is neither a shape nor a sequence of shapes.
    """
    sizes = [input_size] if _is_shape(input_size) else input_size
    several = isinstance(sizes, Sequence) and not isinstance(sizes, str)
    if not several or not sizes or not all(_is_shape(size) for size in sizes):
        raise ValueError(
            f"input_size must be a shape of positive integers, such as "
            f"(1, 3, 224, 224), or a sequence of such shapes; got {input_size!r}."
        )
    weights = [p for p in model.parameters() if p.is_floating_point()]
    reference = next((p for p in weights if p.element_size() > 1), torch.empty(0))
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.rand(tuple(size), generator=generator) for size in sizes]
    return tuple(x.to(reference.device, reference.dtype) for x in inputs)


def _is_shape(size: object) -> bool:
    return (
        isinstance(size, Sequence)
        and not isinstance(size, str)
        and len(size) > 0
        and all(isinstance(n, int) and not isinstance(n, bool) and n > 0 for n in size)
    )
