r"""Fold a trained network for inference: exact, and both gates from the narrow tensor.

In a ResNet's bottleneck the attention reads :math:`y = W_3 h + b_3`, with `h` four
times narrower than `y`. Both gates are affine in `y` before their non-linearity, so

.. math:: K * y + b = \mathrm{shift\_sum}((K W_3) h + K b_3) + b, \qquad
          \bar y = W_3 \bar h + b_3

and they read `h` instead. Exact at the borders too: :math:`K b_3` is added before the
zero-padded shift. Batch norms are folded into their convolutions first.
"""

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .attach import Attended, _replace
from .spatial_channel import (
    POINTWISE,
    SpatialChannelAttention,
    combine,
    shift_sum,
    tap_weight,
)


def fold(model: nn.Module) -> nn.Module:
    """A copy of `model` for inference: batch norms folded, gates read early.

    - Every convolution directly followed by its batch norm (in a `Sequential`, or under
      ResNet's names `conv1`/`bn1`, ...) takes the norm into its weights.
    - Every ResNet bottleneck (torchvision, timm) becomes a `FoldedBottleneck`; one with
      `SpatialChannelAttention` before its addition reads both gates from the narrow
      tensor. Other attention modules are kept as they are.

    The copy answers in evaluation mode only; equal to `model.eval()` up to rounding.

    Raises:
        ValueError: when there is nothing in the model to fold.
    """
    folded = copy.deepcopy(model).eval()
    count = 0
    for name, module in list(folded.named_modules()):
        if is_bottleneck(module):
            _replace(folded, name, FoldedBottleneck(module))
            count += 1
    for parent in list(folded.modules()):
        count += _fold_children(parent)
    if count == 0:
        raise ValueError(
            f"{type(model).__name__} has nothing to fold: no convolution followed by "
            f"its batch norm."
        )
    for parameter in folded.parameters():
        parameter.requires_grad_(False)
    return folded


def is_bottleneck(module: nn.Module) -> bool:
    """A bottleneck of torchvision or timm without anti-aliasing or drop block."""
    children = {n for n, c in module.named_children() if not isinstance(c, nn.Identity)}
    return {"conv1", "bn1", "conv2", "bn2", "conv3", "bn3"} <= children and not (
        {"aa", "drop_block"} & children
    )


def _fold_children(parent: nn.Module) -> int:
    """Fold each norm among the direct children into the convolution just before it."""
    names = [n for n, c in parent.named_children() if not isinstance(c, nn.Identity)]
    count = 0
    for before, after in pairwise(names):
        conv, norm = getattr(parent, before), getattr(parent, after)
        if not isinstance(conv, (nn.Conv2d, nn.Conv3d)):
            continue
        in_order = isinstance(parent, nn.Sequential) or after == before.replace(
            "conv", "bn"
        )
        if not in_order:
            continue
        if isinstance(norm, Attended) and is_norm(norm.module):
            setattr(parent, before, fuse_conv_bn_eval(conv, norm.module))
            norm.module = nn.Identity()
        elif is_norm(norm):
            setattr(parent, before, fuse_conv_bn_eval(conv, norm))
            # timm's norms hold an activation of their own
            setattr(parent, after, getattr(norm, "act", nn.Identity()))
        else:
            continue
        count += 1
    return count


def is_norm(module: nn.Module) -> bool:
    return isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d))


class FoldedBottleneck(nn.Module):
    """A bottleneck for inference: three convolutions, one gate, in-place sums."""

    def __init__(self, block: nn.Module):
        super().__init__()
        norm, attention = block.bn3, getattr(block, "se", None)  # timm's slot
        if isinstance(norm, Attended):
            norm, attention = norm.module, norm.attention
        self.conv1 = fuse_conv_bn_eval(block.conv1, block.bn1)
        self.conv2 = fuse_conv_bn_eval(block.conv2, block.bn2)
        self.conv3 = fuse_conv_bn_eval(block.conv3, norm)
        self.downsample = block.downsample
        self.attention = attention
        if isinstance(attention, SpatialChannelAttention):
            self.attention = NarrowGates(self.conv3, attention)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, C, H, W]` → `[B, C', H', W']`."""
        h = F.relu(self.conv1(x), inplace=True)
        h = F.relu(self.conv2(h), inplace=True)  # [B, C'/4, H', W']
        y = self.conv3(h)
        shortcut = x if self.downsample is None else self.downsample(x)
        if isinstance(self.attention, NarrowGates):
            y = self.attention(y, h)
        elif self.attention is not None:
            y = self.attention(y)
        return F.relu(y.add_(shortcut), inplace=True)


class NarrowGates(nn.Module):
    """Both gates of `attention(y)`, read from `h` where `y = conv3(h)` is 1x1."""

    def __init__(self, conv3: nn.Module, attention: SpatialChannelAttention):
        super().__init__()
        w3, b3 = conv3.weight.flatten(1), conv3.bias  # [C', C'/4], [C']
        k = tap_weight(attention.spatial)  # [k*k, C']
        w1, b1 = attention.squeeze.weight, attention.squeeze.bias
        with torch.no_grad():
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
        """`y`: `[B, C', *space]`, `h`: `[B, C'/4, *space]` → `y` weighed."""
        taps = POINTWISE[self.dims](h, self.tap_weight, self.tap_bias)
        spatial = torch.sigmoid(shift_sum(taps, self.kernel_size) + self.bias)
        hidden = F.linear(h.flatten(2).mean(2), self.squeeze_weight, self.squeeze_bias)
        channel = torch.sigmoid(self.excite(F.relu(hidden)))
        channel = channel.reshape(*channel.shape, *(1,) * self.dims)
        return combine(y, spatial, channel, self.gain)
