"""Count at how many positions each neuron is above zero.

A ReLU reads the same outputs. If an `nn.Sequential` passes an output straight to a ReLU,
a kernel can therefore compute the ReLU and count in one pass; this file decides when.
"""

from collections import Counter
from itertools import pairwise
from math import inf
from typing import Any

import torch
from torch import Tensor, nn

from .kernels import can_count, count_active

RELUS = {nn.ReLU: inf, nn.ReLU6: 6.0}  # their largest value


def before_relu(model: nn.Module) -> dict[nn.Module, tuple[nn.Module, nn.Module]]:
    """Map each module whose output goes straight to a ReLU to its container and the ReLU.

    Modules that occur more than once in the model are left out.
    """
    uses = Counter(m for _, m in model.named_modules(remove_duplicate=False))
    found = {
        _last(module): (container, after)
        for container in model.modules()
        for module, after in pairwise(_chain(container))
        if type(after) in RELUS
    }
    return {
        module: (container, relu)
        for module, (container, relu) in found.items()
        if uses[module] == uses[container] == uses[relu] == 1
    }


def _chain(module: nn.Module) -> list[nn.Module]:
    """Return the modules that run one after the other if it is an `nn.Sequential`."""
    is_sequential = type(module).forward is nn.Sequential.forward
    if not is_sequential or "forward" in vars(module):
        return []
    return [child for child in module._modules.values() if child is not None]


def _last(module: nn.Module) -> nn.Module:
    """Return the module whose output is that of `module`."""
    chain = _chain(module)
    return _last(chain[-1]) if chain else module


def active(y: Tensor, channels_first: bool) -> tuple[Tensor, int]:
    """Count the positions at which each neuron is above zero.

    Args:
        y: the output of a layer, of shape `[B, N, *size]` if `channels_first` is True,
            and `[..., N]` otherwise.

    Returns:
        The count for each neuron, an int64 tensor of shape `[N]`, and the total number
        of positions.
    """
    # view the output as [outer, N, inner], in the order in which it lies in memory
    y, (outer, neurons, inner) = y.detach(), layout(y, channels_first)
    if inner == 1 and channels_first and y.dim() == 4:
        y = y.permute(0, 2, 3, 1)  # channels-last, so that `contiguous` copies nothing
    return count_active(y.contiguous(), outer, neurons, inner), outer * inner


def layout(y: Tensor, channels_first: bool) -> tuple[int, int, int]:
    """Return the sizes `[outer, N, inner]` of an output in memory, once it is dense."""
    neurons = y.shape[1] if channels_first else y.shape[-1]
    positions = y.numel() // neurons
    if not channels_first or _is_channels_last(y):
        return positions, neurons, 1
    return len(y), neurons, positions // max(len(y), 1)


def _is_channels_last(y: Tensor) -> bool:
    return y.dim() == 4 and y.is_contiguous(memory_format=torch.channels_last)


def can_replace(relu: Any, y: Tensor, channels_first: bool) -> bool:
    """Check whether a kernel may compute the ReLU of an output and count.

    Nobody else may observe the ReLU: no gradient, no trace, and no other hook.
    """
    unobserved = (
        torch.is_inference_mode_enabled()
        and type(y) is Tensor
        and not torch.jit.is_tracing()
        and not torch._C._len_torch_dispatch_stack()
        and len(relu._forward_hooks) == len(relu._forward_pre_hooks) == 1
        and "forward" not in vars(relu)
    )
    is_dense = y.is_contiguous() or (channels_first and _is_channels_last(y))
    return unobserved and is_dense and can_count(y)
