"""Layers of transformers that hide linear layers, written as linear layers.

`Conv1D` of GPT-2 is a linear layer whose weight is transposed. A stack of experts, as in
Mixtral and Qwen3-MoE, holds the matrices of all experts in two tensors, and a recurrent
layer several in one module. As linear layers, all can be calibrated and packed like others.
"""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from .matrix import linear_of
from .recurrent import Recurrent, is_recurrent

CLOSE = 1e-4  # between a stack and its experts, relative


class UnstackedExperts(nn.Module):
    """The gated experts of a mixture, a list of linear layers instead of two tensors.

    An expert maps x to down(act(gate) * up), where gate and up are the halves of one
    product.

    Args:
        stack: a module with `gate_up_proj` `[E, 2 I, H]`, `down_proj` `[E, H, I]` and
            `act_fn`.
    """

    def __init__(self, stack: Any):
        super().__init__()
        self.act_fn = stack.act_fn
        self.gate_up = nn.ModuleList(map(_linear, stack.gate_up_proj.unbind()))
        self.down = nn.ModuleList(map(_linear, stack.down_proj.unbind()))

    def forward(
        self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor
    ) -> Tensor:
        """Return the weighted sum of each token's experts, `[T, H]`.

        Args:
            hidden_states: the tokens, `[T, H]`.
            top_k_index, top_k_weights: each token's experts and their weights, `[T, k]`.
        """
        result = torch.zeros_like(hidden_states)
        for expert in top_k_index.unique().tolist():
            if expert == len(self.down):  # a place that stands for no expert
                continue
            token, place = (top_k_index == expert).nonzero(as_tuple=True)  # [n] each
            gate, up = self.gate_up[expert](hidden_states[token]).chunk(2, dim=-1)
            value = self.down[expert](self.act_fn(gate) * up)  # [n, H]
            weighted = value * top_k_weights[token, place, None]
            result.index_add_(0, token, weighted.to(result.dtype))
        return result


def as_linear(model: nn.Module, names: Iterable[str] | None = None) -> list[str]:
    """Replace the layers of a model that hide linear layers, in place.

    Args:
        names: the modules to replace; None for all that compute the same afterward.

    Returns:
        The names of the replaced modules.
    """
    modules = dict(model.named_modules())
    chosen = [n for n, m in modules.items() if _hides(m)] if names is None else names
    replaced = []
    for name in chosen:
        new = _unhidden(modules[name])
        if names is not None or _same(modules[name], new):
            model.set_submodule(name, new)
            replaced.append(name)
    return replaced


def _hides(module: Any) -> bool:
    if isinstance(module, Conv1D) or is_recurrent(module):
        return True
    stacks = (getattr(module, name, None) for name in ("gate_up_proj", "down_proj"))
    if not all(isinstance(each, nn.Parameter) and each.ndim == 3 for each in stacks):
        return False
    (count, both, hidden), down = module.gate_up_proj.shape, module.down_proj.shape
    return (count, hidden, both) == (down[0], down[1], 2 * down[2]) and (
        len(module._parameters) == 2 and hasattr(module, "act_fn")
    )


def _unhidden(module: nn.Module) -> nn.Module:
    if isinstance(module, Conv1D):
        return _linear(module.weight.T, module.bias)
    if is_recurrent(module):
        return Recurrent(module)
    return UnstackedExperts(module)


def _linear(weight: Tensor, bias: nn.Parameter | None = None) -> nn.Linear:
    return linear_of(nn.Parameter(weight.detach().contiguous()), bias)


@torch.no_grad()
def _same(old: Any, new: nn.Module) -> bool:
    """Whether both compute the same: other models' experts may be gated differently."""
    if isinstance(old, Conv1D | nn.RNNBase):
        return True
    generator = torch.Generator().manual_seed(0)
    like = old.down_proj
    count, width, _ = like.shape
    x = torch.randn(4 * count, width, generator=generator).to(like)
    index = torch.arange(4 * count, device=like.device)[:, None] % count
    weights = torch.rand(4 * count, 1, generator=generator).to(like)
    try:
        expected, found = old(x, index, weights), new(x, index, weights)
    except (TypeError, ValueError, RuntimeError, AttributeError):
        return False  # called in another way
    return bool((found - expected).norm() <= CLOSE * expected.norm())
