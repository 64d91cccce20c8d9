"""A registry of attention modules, each with a known scale at initialization.

`create("cbam", 64)` builds a module that maps `[B, 64, H, W]` to the same shape.
Modules that are available in `timm` are taken from there. Since sigmoid gates start
near 0.5, the output of a module is initially only a fraction of its input
(`native_scale`). `scale="unit"` corrects this with a constant factor. Without this
correction, a comparison would rank modules by this factor; see the lesson
`notebooks/basic/02_attention_families.ipynb`.
"""

from collections.abc import Callable
from math import inf
from numbers import Real
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_count, require
from ..registry import Registry
from .spatial_channel import CONV, SpatialChannelAttention, resolve_scale

Factory = Callable[..., nn.Module]
Registered = TypeVar("Registered", bound=Factory)
attention: Registry[Factory] = Registry("attention module")


def register(
    name: str,
    *,
    dims: tuple[int, ...],
    native_scale: float,
    last: Callable[[Any], list[nn.Module]] | None = None,
) -> Callable[[Registered], Registered]:
    """Register a module under `name`, so that `create` and `attach` can build it.

    Use it as a decorator.

    Args:
        dims: a tuple of the supported numbers of dimensions: 1 (series), 2 (images)
            or 3 (volumes). If it has one element, the module is built as
            `module(channels)`; otherwise, as `module(channels, dims=...)`.
        native_scale: the mean factor applied to the input at initialization, such as
            0.5 for a single sigmoid.
        last: a function that returns the last layers of a module. Setting these layers
            to zero must make the gates constant. If `last` is omitted, the module
            cannot start as the identity.

    Raises:
        ValueError: if `dims` is not a valid tuple, `native_scale` is not positive, or
            the name is already in use.

    >>> from torch import nn
    >>> from deepseek_learn import attention
    >>> @attention.register("half", dims=(1, 2, 3), native_scale=0.5)
    ... class Half(nn.Module):
    ...     def __init__(self, channels: int) -> None:
    ...         super().__init__()
    ...
    ...     def forward(self, x):
    ...         return x / 2
    >>> "half" in attention.names()
    True
    """
    is_set = isinstance(dims, tuple) and dims and len({*dims}) == len(dims)
    if not is_set or not {*dims} <= {*CONV}:
        raise ValueError(
            f"dims must be a tuple of 1, 2 and/or 3, without duplicates; got {dims!r}."
        )
    if not isinstance(native_scale, Real) or not 0 < native_scale < inf:
        raise ValueError(
            f"native_scale must be a positive number; got {native_scale!r}."
        )
    facts: dict[str, Any] = {"dims": dims, "native_scale": native_scale}
    return attention.register(name, **facts, **({"last": last} if last else {}))


def names(dims: int = 2) -> list[str]:
    """List the modules that support series (`dims=1`), images (2) or volumes (3).

    >>> from deepseek_learn import attention
    >>> "sc" in attention.names(dims=3)
    True
    """
    return [name for name in attention if dims in attention.facts(name)["dims"]]


def create(
    name: str,
    channels: int,
    *,
    dims: int = 2,
    scale: float | str = "unit",
    identity: bool = False,
) -> nn.Module:
    """Build the attention module `name` for inputs with `channels` channels.

    Args:
        name: one of `names(dims)`, including modules that you registered with
            `@attention.register`.
        channels: the number of channels C of the features, which have the shape
            `[B, C, H, W]` (`[B, C, T]` if `dims=1`, `[B, C, D, H, W]` if `dims=3`).
        scale: the mean factor applied to the input at initialization. It is `"unit"`
            (1), a positive number, or `"native"` (the factor of the module as
            published).
        identity: whether the module initially computes exactly `scale * x`, which is
            achieved by setting its last layers to zero.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the registered
            names.
        ValueError: if the module does not support `dims` or starting as the identity,
            or if `channels` is less than 1.
        TypeError: if `channels` is not an integer.
        MissingPackageError: if the module comes from timm and timm is not installed.

    >>> import torch
    >>> from deepseek_learn import attention
    >>> attention.create("cbam", channels=32)(torch.rand(1, 32, 7, 7)).shape
    torch.Size([1, 32, 7, 7])
    """
    factory, facts = attention[name], attention.facts(name)
    check_count("channels", channels)
    if dims not in facts["dims"]:
        raise ValueError(
            f"attention module {name!r} supports dims in {facts['dims']}; got "
            f"dims={dims}."
        )
    module = (
        factory(channels, dims=dims) if len(facts["dims"]) > 1 else factory(channels)
    )
    if identity:
        if "last" not in facts:
            raise ValueError(
                f"attention module {name!r} does not support identity=True."
            )
        for layer in facts["last"](module):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    # At 0.5 per sigmoid gate, modules shrink their input by different factors: `gain` makes
    # them start alike, so that a comparison is about the attention and not the scale.
    gain = 1.0
    if scale != "native":
        gain = resolve_scale(scale) / facts["native_scale"]
    if isinstance(module, SpatialChannelAttention):
        module.gain = gain  # cheaper, because it scales the small gates
        return module
    return module if gain == 1.0 else ScaledModule(module, gain)


class ScaledModule(nn.Module):
    """A module whose output is multiplied by a constant: `gain * module(x)`."""

    def __init__(self, module: nn.Module, gain: float):
        super().__init__()
        self.module, self.gain = module, gain

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.module(x)

    def extra_repr(self) -> str:
        return f"gain={self.gain:g}"


def _timm(name: str, channels: int) -> nn.Module:
    purpose = f"the attention module {name!r} of timm"
    layers = require("timm.layers", extra="vision", purpose=purpose)
    return layers.create_attn(name, channels)


register("sc", dims=(1, 2, 3), native_scale=1.0, last=lambda m: [m.spatial, m.excite])(
    SpatialChannelAttention
)


@register("se", dims=(2,), native_scale=0.5, last=lambda m: [m.fc2])
def squeeze_excite(channels: int) -> nn.Module:
    """Build a squeeze-and-excitation module, which gates the channels.

    Hu et al. 2018, "Squeeze-and-excitation networks", arXiv 1709.01507.
    """
    return _timm("se", channels)


@register("eca", dims=(2,), native_scale=0.5, last=lambda m: [m.conv])
def efficient_channel(channels: int) -> nn.Module:
    """Build an efficient channel attention module, a channel gate without a bottleneck.

    Wang et al. 2020, "ECA-Net", arXiv 1910.03151.
    """
    return _timm("eca", channels)


@register(
    "cbam",
    dims=(2,),
    native_scale=0.25,
    # zeroing conv as well would leave no gradient
    last=lambda m: [m.channel.fc2, m.spatial.conv.bn],
)
def convolutional_block(channels: int) -> nn.Module:
    """Build a CBAM module, which applies a channel gate and then a spatial gate.

    Woo et al. 2018, "CBAM: Convolutional block attention module", arXiv 1807.06521.
    """
    return _timm("cbam", channels)


@register(
    "coordinate", dims=(2,), native_scale=0.25, last=lambda m: [m.conv_h, m.conv_w]
)
def coordinate(channels: int) -> nn.Module:
    """Build a coordinate attention module, which gates rows and columns.

    Hou et al. 2021, "Coordinate attention for efficient mobile network design", arXiv
    2103.02907.
    """
    return _timm("coord", channels)


@register(
    "scse", dims=(1, 2, 3), native_scale=1.0, last=lambda m: [m.spatial, m.excite]
)
class SCSE(SpatialChannelAttention):
    """scSE as published, with a 1x1 spatial squeeze and a reduction of 2.

    Roy et al. 2018, "Concurrent spatial and channel squeeze & excitation", arXiv
    1803.02579.
    """

    def __init__(self, channels: int, dims: int = 2):
        super().__init__(channels, reduction=2, kernel_size=1, dims=dims)


@register("project_excite", dims=(3,), native_scale=0.5, last=lambda m: [m.excite])
class ProjectExcite(nn.Module):
    """A gate for volumes that is computed from projections onto each axis.

    Rickmann et al. 2019, "Project & Excite", arXiv 1906.04649.

    The means over each pair of axes have the shapes `[B, C, D, 1, 1]`,
    `[B, C, 1, H, 1]` and `[B, C, 1, 1, W]`. They are added and passed through two 1x1x1
    convolutions to compute the gate.

    >>> import torch
    >>> from deepseek_learn.attention import ProjectExcite
    >>> ProjectExcite(8)(torch.rand(2, 8, 4, 6, 6)).shape  # B, C, D, H, W
    torch.Size([2, 8, 4, 6, 6])
    """

    def __init__(self, channels: int, reduction: int = 2):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Conv3d(channels, hidden, 1)
        self.excite = nn.Conv3d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply the gate to features of shape `[B, C, D, H, W]`."""
        depth = x.mean((3, 4), keepdim=True)  # [B, C, D, 1, 1]
        height = x.mean((2, 4), keepdim=True)  # [B, C, 1, H, 1]
        width = x.mean((2, 3), keepdim=True)  # [B, C, 1, 1, W]
        projected = depth + height + width  # broadcast to [B, C, D, H, W]
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(projected))))


@register(
    "self_attention", dims=(1, 2, 3), native_scale=1.0, last=lambda m: [m.project]
)
class SelfAttention(nn.Module):
    r"""Self-attention over all positions, added to the input.

    Wang et al. 2018, "Non-local neural networks", arXiv 1711.07971.

    .. math:: y = x + W_o\,\mathrm{softmax}(q k^\top / \sqrt{d})\,v

    Args:
        channels: the number of channels C of the input `[B, C, *space]`.
        width: the width d of the queries, keys and values.
        fused: whether to use PyTorch's fused kernel. Its memory use is linear in the
            number of positions, although its running time is still quadratic. `False`
            materializes the N x N matrix to show what it costs.

    >>> import torch
    >>> from deepseek_learn.attention import SelfAttention
    >>> SelfAttention(16)(torch.rand(2, 16, 8, 8)).shape
    torch.Size([2, 16, 8, 8])
    >>> SelfAttention(16, dims=1)(torch.rand(2, 16, 50)).shape
    torch.Size([2, 16, 50])
    """

    def __init__(
        self, channels: int, width: int = 64, dims: int = 2, fused: bool = True
    ):
        super().__init__()
        self.width, self.fused = width, fused
        self.qkv = CONV[dims](channels, 3 * width, 1, bias=False)
        self.project = CONV[dims](width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Apply self-attention to features of shape `[B, C, *space]`."""
        # contiguous, because the fused kernel silently falls back for strided q, k, v
        q, k, v = (
            t.transpose(1, 2).contiguous()[:, None]  # [B, 1, N, d]
            for t in self.qkv(x).flatten(2).chunk(3, dim=1)
        )
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(2, 3) / self.width**0.5).softmax(3)  # N x N
            y = weights @ v
        # [B, 1, N, d] → [B, d, *space]
        y = y[:, 0].transpose(1, 2).reshape(x.shape[0], self.width, *x.shape[2:])
        return x + self.project(y)
