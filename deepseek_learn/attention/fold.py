r"""Fold a trained network for inference without changing what it computes.

In a ResNet bottleneck, the input of the attention module is :math:`y = W_3 h + b_3`,
where `h` has only a quarter of the channels of `y`. Before their nonlinearities, both
gates are affine in `y`:

.. math:: K * y + b = \mathrm{shift\_sum}((K W_3) h + K b_3) + b, \qquad
          \bar y = W_3 \bar h + b_3

They can therefore be computed from `h` instead. The result is also exact at the
borders, because :math:`K b_3` is added before the zero-padded shift. Batch norms are
folded into their convolutions first.
"""

import copy
from typing import Any

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .attach import WithAttention
from .bottleneck import FoldedBottleneck, find_bottleneck, is_conv, is_norm, is_plain
from .forward_graph import count_uses, forward_graph, forwards, steps


def fold(model: nn.Module) -> nn.Module:
    """Return a copy of `model` that is folded for inference.

    - If the output of a convolution is used only by a batch norm, the norm is folded
      into the weights of the convolution. This decision is based on a trace of each
      module's `forward` rather than on layer names. If the trace is inconclusive
      (because of branches on the input, optional arguments, hooks or subclassed
      layers), the layers are left as they are.
    - Every block that computes exactly what a ResNet bottleneck computes becomes a
      `FoldedBottleneck`. If it applies `SpatialChannelAttention` before the addition,
      both gates are computed from the narrow tensor. Other attention modules are left
      as they are.

    The copy works in evaluation mode only and matches `model.eval()` up to rounding.

    Raises:
        ValueError: if the model has nothing to fold.

    >>> import torch
    >>> from deepseek_learn import attention
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).eval()
    >>> x = torch.rand(1, 3, 6, 6)
    >>> folded = attention.fold(net)
    >>> torch.allclose(folded(x), net(x), atol=1e-6), len(list(folded.parameters()))
    (True, 2)
    """
    # in a container, since the model itself may be a block
    holder = nn.Sequential(copy.deepcopy(model).eval())
    # whole blocks first: the pairs in them would otherwise be folded one by one, and the
    # block would not be recognized any more
    if _fold_bottlenecks(holder) + _fold_pairs(holder) == 0:
        raise ValueError(
            f"{type(model).__name__} has nothing to fold, because tracing its forward "
            f"found no convolution followed by a batch norm."
        )
    for parameter in holder.parameters():
        parameter.requires_grad_(False)
    return holder[0]


def _fold_bottlenecks(model: nn.Module) -> int:
    traced_modules = forwards(model)
    uses, count = count_uses(traced_modules), 0
    for forward in traced_modules:
        parts = find_bottleneck(forward.module, forward.graph, uses)
        if forward.name and parts:
            model.set_submodule(forward.name, FoldedBottleneck(parts))
            count += 1
    return count


def _fold_pairs(model: nn.Module) -> int:
    """Fold each norm into its convolution and return the number of pairs folded.

    A pair is folded only if nothing but the norm uses the output of the convolution.
    """
    traced_modules = forwards(model)
    uses, count = count_uses(traced_modules), 0
    for forward in traced_modules:
        parent = forward.module
        for conv, norm in _neighbors(forward.graph):
            norm, layers = _innermost(parent, norm)
            conv_layer = parent.get_submodule(conv)
            # a layer that is called twice would need two different folded weights
            once = all(uses[id(m)] == 1 for m in [conv_layer, *layers])
            if is_conv(conv_layer) and once and _activation(layers[-1]) is not None:
                count += _fold_pair(parent, conv, norm, forward.graph)
    return count


def _neighbors(graph: fx.Graph) -> list[tuple[str, str]]:
    """Return the module pairs in which only the second uses the output of the first."""
    return [
        (node.target, user.target)
        for node in graph.nodes
        for user in node.users
        if node.op == user.op == "call_module"
        and len(node.users) == 1
        and user.args == (node,)
        and not user.kwargs
    ]


def _innermost(parent: nn.Module, name: str) -> tuple[str, list[nn.Module]]:
    """Unwrap nested `WithAttention` modules.

    Returns the name of the innermost module and the list of all layers from the
    outermost to the innermost.
    """
    layers = [parent.get_submodule(name)]
    while type(layers[-1]) is WithAttention and is_plain(layers[-1]):
        name += ".module"
        layers.append(layers[-1].module)
    return name, layers


def _activation(norm: Any) -> nn.Module | None:
    """Return what is left of a batch norm after folding.

    This is an activation or the identity. None means that the norm cannot be folded.
    """
    if is_norm(norm):
        return nn.Identity()
    kind = type(norm)
    if (kind.__module__, kind.__name__) != ("timm.layers.norm_act", "BatchNormAct2d"):
        return None
    certain = is_plain(norm) and type(norm.drop) is nn.Identity
    return norm.act if certain and norm.running_mean is not None else None


def _fold_pair(parent: nn.Module, conv: str, norm: str, graph: fx.Graph) -> bool:
    """Fold a pair if the steps of `forward` stay the same; return True if folded.

    The steps change if `forward` refers to the original layers.
    """
    old_conv, old_norm = parent.get_submodule(conv), parent.get_submodule(norm)
    activation = _activation(old_norm)
    assert is_conv(old_conv)
    assert isinstance(old_norm, nn.modules.batchnorm._BatchNorm)
    assert activation is not None
    parent.set_submodule(conv, fuse_conv_bn_eval(old_conv, old_norm))
    parent.set_submodule(norm, activation)
    if steps(forward_graph(parent)) == steps(graph):
        return True
    # `forward` itself depends on the layers, for example on their type: undo it
    parent.set_submodule(conv, old_conv)
    parent.set_submodule(norm, old_norm)
    return False
