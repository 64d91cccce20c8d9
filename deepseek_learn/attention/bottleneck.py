"""Detect ResNet bottlenecks in computation graphs and fold them for inference."""

import operator
from collections import Counter
from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .attach import WithAttention
from .spatial_channel import (
    CONV,
    POINTWISE,
    SpatialChannelAttention,
    combine,
    shift_sum,
    tap_weight,
)

Conv = nn.Conv2d | nn.Conv3d
Norm = nn.BatchNorm2d | nn.BatchNorm3d
RELUS = {F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"}
IN_PLACE = {operator.iadd, "add_"}
ADDITIONS = {operator.add, torch.add, "add"} | IN_PLACE
RESIDUAL = ["conv", "norm", "relu", "conv", "norm", "relu", "conv", "norm"]


def is_plain(module: nn.Module) -> bool:
    """Check whether calling a module runs only the `forward` of its class.

    This is not the case if the module has hooks or its own `forward` attribute.
    """
    hooks = module._forward_hooks or module._forward_pre_hooks
    return not hooks and "forward" not in vars(module)


def is_conv(module: nn.Module) -> TypeGuard[Conv]:
    """Check whether a module is a built-in PyTorch convolution without hooks.

    Subclasses are excluded because they may compute something else.
    """
    return type(module) in CONV.values() and is_plain(module)


def is_norm(module: nn.Module) -> TypeGuard[Norm]:
    """Check whether a module is a built-in PyTorch batch norm without hooks.

    The norm must also keep running statistics.
    """
    return (
        type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
        and module.running_mean is not None
        and is_plain(module)
    )


@dataclass(frozen=True)
class Bottleneck:
    """The parts of a ResNet bottleneck.

    The bottleneck computes
    `relu(attention(norm3(conv3(relu(norm2(...))))) + downsample(x))`.
    """

    convs: list[Conv]
    norms: list[Norm]
    attention: nn.Module | None
    downsample: nn.Module | None


def find_bottleneck(
    block: nn.Module, graph: fx.Graph, uses: Counter
) -> Bottleneck | None:
    """Return the parts of `block`, or None if its graph is not exactly a bottleneck."""
    *body, output = graph.nodes
    if not is_plain(block) or not isinstance(output.args[0], fx.Node):
        return None
    if not all(node.users for node in body):
        return None  # a step whose result is unused may change a tensor in place
    addition, last = _chain(output.args[0], block)
    if [_kind(step) for step in last] != ["relu"] or not _adds_two(addition):
        return None
    (x, residual), (start, skip) = (
        _chain(a, block) for a in addition.args if isinstance(a, fx.Node)
    )
    if len(skip) > len(residual) and addition.target not in IN_PLACE:
        residual, skip = skip, residual  # the order of a sum does not matter
    readers = [_step(node, block) for node in x.users]
    if x is not start or x.op != "placeholder" or len(skip) > 1:
        return None
    if skip and readers != [residual[0], *skip]:
        return None  # in this order, `skip` may change x before the residual reads it
    return _parts(residual, skip, uses)


def _parts(residual: list, skip: list, uses: Counter) -> Bottleneck | None:
    """Return the parts if the residual branch matches a bottleneck, otherwise None.

    Its layers must not be used anywhere else.
    """
    layers, attention = residual[:8], residual[8:]
    layers, wrapped = _unwrap(layers, uses)
    once = all(uses[id(m)] == 1 for m in layers if _kind(m) in ("conv", "norm"))
    if [_kind(m) for m in layers] != RESIDUAL or not once:
        return None
    attention = wrapped + attention
    if len(attention) > 1 or "relu" in map(_kind, attention + skip):
        return None
    return Bottleneck(
        layers[0::3], layers[1::3], *(next(iter(m), None) for m in (attention, skip))
    )


def _unwrap(layers: list, uses: Counter) -> tuple[list, list]:
    """Unwrap the last norm if it is followed by an attention module.

    Returns the layers and a list with the attention module, if there is one.
    """
    last = layers[-1] if layers else None
    if type(last) is WithAttention and is_plain(last) and uses[id(last)] == 1:
        return [*layers[:-1], last.module], [last.attention]
    return layers, []


def _chain(node: fx.Node, block: nn.Module) -> tuple[fx.Node, list]:
    """Walk back from `node` through steps that have one input and one user.

    Returns the node at which the walk ends and the steps in forward order.
    """
    steps: list[nn.Module | str] = []
    while len(node.users) == 1 and (step := _step(node, block)) is not None:
        if not (type(step) is nn.Identity and is_plain(step)):
            steps.insert(0, step)
        (source,) = node.args
        assert isinstance(source, fx.Node)  # checked by `_step`
        node = source
    return node, steps


def _step(node: fx.Node, block: nn.Module) -> nn.Module | str | None:
    """Return the module that a node calls, `"relu"` for a ReLU, or None otherwise."""
    if len(node.args) != 1 or not isinstance(node.args[0], fx.Node):
        return None
    if node.op == "call_module":
        return None if node.kwargs else block.get_submodule(str(node.target))
    is_relu = node.target in RELUS and set(node.kwargs) <= {"inplace"}
    return "relu" if is_relu else None


def _kind(step: nn.Module | str) -> str:
    if isinstance(step, str) or (type(step) is nn.ReLU and is_plain(step)):
        return "relu"
    return "conv" if is_conv(step) else "norm" if is_norm(step) else "other"


def _adds_two(node: fx.Node) -> bool:
    is_addition = node.op in ("call_function", "call_method") and not node.kwargs
    operands = [a for a in node.args if isinstance(a, fx.Node)]
    two = len(node.args) == len(operands) == 2 and len(node.users) == 1
    return is_addition and two and node.target in ADDITIONS


class FoldedBottleneck(nn.Module):
    """A folded bottleneck for inference, with three convolutions and in-place adds.

    The gates of its attention module are computed from the narrow tensor if possible.
    """

    def __init__(self, block: Bottleneck):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (
            fuse_conv_bn_eval(conv, norm)
            for conv, norm in zip(block.convs, block.norms, strict=True)
        )
        self.downsample, self.attention = block.downsample, block.attention
        if reads_narrow(block.attention, self.conv3):
            self.attention = NarrowGates(self.conv3, block.attention)

    def forward(self, x: Tensor) -> Tensor:
        """Map features `[B, C, *space]` to features `[B, C', *space']`."""
        h = F.relu(self.conv1(x), inplace=True)
        h = F.relu(self.conv2(h), inplace=True)  # [B, C'/4, *space']
        y = self.conv3(h)  # [B, C', *space']
        shortcut = x if self.downsample is None else self.downsample(x)
        if isinstance(self.attention, NarrowGates):
            y = self.attention(y, h)
        elif self.attention is not None:
            y = self.attention(y)
        # in place: `y` is a new tensor, while `x` and the shortcut may be used elsewhere
        return F.relu(y.add_(shortcut), inplace=True)


def reads_narrow(
    attention: nn.Module | None, conv3: Conv
) -> TypeGuard[SpatialChannelAttention]:
    """Check whether both gates can be computed from the input of `conv3`.

    This requires an unmodified spatial-channel attention module and a pointwise
    `conv3`.
    """
    if not isinstance(attention, SpatialChannelAttention) or not is_plain(attention):
        return False
    methods = (type(attention).forward, type(attention).gates)
    originals = (SpatialChannelAttention.forward, SpatialChannelAttention.gates)
    ones = (1,) * attention.dims
    pointwise = conv3.kernel_size == conv3.stride == ones and not any(conv3.padding)
    return methods == originals and pointwise and conv3.groups == 1


class NarrowGates(nn.Module):
    """The gates of an attention module for `y = conv3(h)`, computed from `h`.

    `conv3` is a 1x1 convolution, and `h` has fewer channels than `y`.
    """

    tap_weight: Tensor
    tap_bias: Tensor
    bias: Tensor
    squeeze_weight: Tensor
    squeeze_bias: Tensor

    def __init__(self, conv3: Conv, attention: SpatialChannelAttention):
        super().__init__()
        w3, b3 = conv3.weight.flatten(1), conv3.bias  # [C', C'/4], [C']
        assert b3 is not None  # set when its batch norm was folded
        assert attention.spatial.bias is not None
        k = tap_weight(attention.spatial)  # [k*k, C']
        w1, b1 = attention.squeeze.weight, attention.squeeze.bias
        with torch.no_grad():
            # y = W3 h + b3 is affine, so K y and W1 y are products with h; see `fold.py`
            taps = (k @ w3).reshape(*(k @ w3).shape, *(1,) * attention.dims)
            self.register_buffer("tap_weight", taps.contiguous())
            self.register_buffer("tap_bias", k @ b3)
            self.register_buffer("bias", attention.spatial.bias.clone())
            self.register_buffer("squeeze_weight", w1 @ w3)
            self.register_buffer("squeeze_bias", w1 @ b3 + b1)
        self.excite = attention.excite
        self.kernel_size, self.gain = attention.kernel_size, attention.gain
        self.dims = attention.dims

    def forward(self, y: Tensor, h: Tensor) -> Tensor:
        """Apply the gates to `y`.

        Args:
            y: the features, of shape `[B, C', *space]`.
            h: the input of `conv3`, of shape `[B, C'/4, *space]`.
        """
        # K b3 is added here, before the shifts: they pad with zeros, not with K b3
        convolve = POINTWISE[self.dims]
        taps = convolve(h, self.tap_weight, self.tap_bias)  # [B, k**d, *space]
        spatial = torch.sigmoid(shift_sum(taps, self.kernel_size) + self.bias)
        hidden = F.linear(h.flatten(2).mean(2), self.squeeze_weight, self.squeeze_bias)
        channel = torch.sigmoid(self.excite(F.relu(hidden)))  # [B, C']
        channel = channel.reshape(*channel.shape, *(1,) * self.dims)
        return combine(y, spatial, channel, self.gain)
