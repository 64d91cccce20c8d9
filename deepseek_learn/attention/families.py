"""The other attention modules, in one registry, each with a known initial scale.

`create("cbam", 64)` builds a module that maps `[B, 64, H, W]` to the same shape.
Modules that exist in `timm` are taken from there. Sigmoid gates start near 0.5, so a
module's output is at first a fraction of its input (`native_scale`); `scale="unit"`
undoes that with a constant. Without it, a comparison ranks modules by this factor; see
the lesson `notebooks/basic/02_attention_families.ipynb`.
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
        dims: a tuple of one or more of 1 (series), 2 (images) and 3 (volumes). With a
            single one, the module is built as `module(channels)`; with several, as
            `module(channels, dims=...)`.
        native_scale: mean factor on the input at initialization, e.g. 0.5 for one
            sigmoid.
        last: maps a module to its last layers; its gates become constant when these are
            zeroed. Without `last`, the module cannot start as the identity.

    Raises:
        ValueError: if `dims` is not such a tuple, if `native_scale` is not positive, or
            if the name is in use.
    """
    is_set = isinstance(dims, tuple) and dims and len({*dims}) == len(dims)
    if not is_set or not {*dims} <= {*CONV}:
        raise ValueError(f"dims must be a tuple of 1, 2 and 3; got {dims!r}.")
    if not isinstance(native_scale, Real) or not 0 < native_scale < inf:
        raise ValueError(
            f"native_scale must be a positive number; got {native_scale!r}."
        )
    facts: dict[str, Any] = {"dims": dims, "native_scale": native_scale}
    return attention.register(name, **facts, **({"last": last} if last else {}))


def names(dims: int = 2) -> list[str]:
    """List the modules registered for series (`dims=1`), images (2) or volumes (3)."""
    return [name for name in attention if dims in attention.facts(name)["dims"]]


def create(
    name: str,
    channels: int,
    *,
    dims: int = 2,
    scale: float | str = "unit",
    identity: bool = False,
) -> nn.Module:
    """Build the module `name` for `channels` channels.

    Args:
        name: one of `names(dims)`, or one you registered with `@attention.register`.
        channels: C of the features `[B, C, H, W]` (`[B, C, T]` for `dims=1`,
            `[B, C, D, H, W]` for `dims=3`).
        scale: mean factor on the input at initialization: `"unit"` (1), a positive
            number, or `"native"` (as in the module's paper).
        identity: whether to start as exactly `scale * x`, by zeroing the module's last
            layers.

    Raises:
        UnknownNameError: if the name is unknown; the message lists the registered ones.
        ValueError: if the module does not support `dims` or an identity start, or if
            `channels` is less than one.
        TypeError: if `channels` is not a whole number.
        MissingPackageError: if the module comes from timm and timm is not installed.
    """
    factory, facts = attention[name], attention.facts(name)
    check_count("channels", channels)
    if dims not in facts["dims"]:
        raise ValueError(
            f"attention module {name!r} works in {facts['dims']} dimensions; got "
            f"dims={dims}."
        )
    module = (
        factory(channels, dims=dims) if len(facts["dims"]) > 1 else factory(channels)
    )
    if identity:
        if "last" not in facts:
            raise ValueError(f"attention module {name!r} has no identity start.")
        for layer in facts["last"](module):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)
    gain = 1.0
    if scale != "native":
        gain = resolve_scale(scale) / facts["native_scale"]
    if isinstance(module, SpatialChannelAttention):
        module.gain = gain  # folds into its gates
        return module
    return module if gain == 1.0 else ScaledModule(module, gain)


class ScaledModule(nn.Module):
    """`gain * module(x)`: the same module with a different initial scale."""

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
    """Build a squeeze-and-excitation module, a channel gate.

    Hu et al. 2018, "Squeeze-and-excitation networks", arXiv 1709.01507.
    """
    return _timm("se", channels)


@register("eca", dims=(2,), native_scale=0.5, last=lambda m: [m.conv])
def efficient_channel(channels: int) -> nn.Module:
    """Build efficient channel attention, a channel gate without a bottleneck.

    Wang et al. 2020, "ECA-Net", arXiv 1910.03151.
    """
    return _timm("eca", channels)


@register(
    "cbam",
    dims=(2,),
    native_scale=0.25,
    last=lambda m: [
        m.channel.fc2,
        m.spatial.conv.bn,
    ],  # not conv: with both zero, no gradient
)
def convolutional_block(channels: int) -> nn.Module:
    """Build a channel gate followed by a spatial gate.

    Woo et al. 2018, "CBAM: Convolutional block attention module", arXiv 1807.06521.
    """
    return _timm("cbam", channels)


@register(
    "coordinate", dims=(2,), native_scale=0.25, last=lambda m: [m.conv_h, m.conv_w]
)
def coordinate(channels: int) -> nn.Module:
    """Build gates for rows and columns.

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
    """Gates for volumes, computed from projections onto each axis.

    Rickmann et al. 2019, "Project & Excite", arXiv 1906.04649.

    The means over each pair of axes, `[B, C, D, 1, 1]`, `[B, C, 1, H, 1]` and
    `[B, C, 1, 1, W]`, are added and passed through two 1x1x1 convolutions; the result
    gates the features.
    """

    def __init__(self, channels: int, reduction: int = 2):
        super().__init__()
        hidden = max(channels // reduction, 1)
        self.squeeze = nn.Conv3d(channels, hidden, 1)
        self.excite = nn.Conv3d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Gate features `[B, C, D, H, W]`; the shape stays the same."""
        depth = x.mean((3, 4), keepdim=True)
        height = x.mean((2, 4), keepdim=True)
        width = x.mean((2, 3), keepdim=True)
        projected = depth + height + width  # broadcast to [B, C, D, H, W]
        return x * torch.sigmoid(self.excite(F.relu(self.squeeze(projected))))


@register(
    "self_attention", dims=(1, 2, 3), native_scale=1.0, last=lambda m: [m.project]
)
class SelfAttention(nn.Module):
    r"""Self-attention over positions.

    Wang et al. 2018, "Non-local neural networks", arXiv 1711.07971.

    .. math:: y = x + W_o\,\mathrm{softmax}(q k^\top / \sqrt{d})\,v

    Args:
        channels: C of the input `[B, C, *space]`.
        width: d, the width of the queries, keys and values.
        fused: whether to use PyTorch's fused kernel, whose memory is linear in the
            number of positions, though its time is still quadratic. `False`
            materializes the N x N matrix to show its cost.
    """

    def __init__(
        self, channels: int, width: int = 64, dims: int = 2, fused: bool = True
    ):
        super().__init__()
        self.width, self.fused = width, fused
        self.qkv = CONV[dims](channels, 3 * width, 1, bias=False)
        self.project = CONV[dims](width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the positions of `[B, C, *space]`; the shape stays the same."""
        # contiguous: on strided q, k, v the fused kernel silently falls back
        q, k, v = (
            t.transpose(1, 2).contiguous()[:, None]  # [B, 1, N, d]
            for t in self.qkv(x).flatten(2).chunk(3, dim=1)
        )
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            weights = (q @ k.transpose(2, 3) / self.width**0.5).softmax(3)  # N x N
            y = weights @ v
        y = y[:, 0].transpose(1, 2).reshape(x.shape[0], self.width, *x.shape[2:])
        return x + self.project(y)
