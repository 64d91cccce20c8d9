r"""A corrected, exact and fast version of the spatial-channel attention in the guide.

For features :math:`x` of shape `[B, C, *space]`, the module computes

.. math:: y = g\, x \cdot (\sigma(K * x + b) + \sigma(W_2\,\mathrm{relu}(W_1 \bar x)))

in one, two or three dimensions. The spatial gate `[B, 1, *space]` comes from a
convolution with one output channel (3x3 in 2-D), the channel gate `[B, C, 1, ...]`
comes from a bottleneck applied to the spatial mean, and :math:`g` is a constant. This
is scSE (Roy et al. 2018, "Concurrent spatial and channel squeeze & excitation", arXiv
1803.02579) with a 3x3 spatial squeeze instead of a 1x1 one. For a 3-D counterpart, see
Rickmann et al. 2019, "Project & Excite", arXiv 1906.04649.
Lesson: `notebooks/basic/01_spatial_channel_attention.ipynb`.
"""

from itertools import product
from math import inf
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import check_count

CONV: dict[int, type[nn.Conv1d | nn.Conv2d | nn.Conv3d]] = {
    1: nn.Conv1d,
    2: nn.Conv2d,
    3: nn.Conv3d,
}
POINTWISE = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
LAYOUT = {1: "T", 2: "H, W", 3: "D, H, W"}


def shift_sum(taps: Tensor, kernel_size: int = 3) -> Tensor:
    r"""Sum one-channel maps, each shifted by its position in the kernel.

    A convolution with **one** output channel is a sum of shifted 1x1 convolutions,
    :math:`(K * x)_p = \sum_t K_t \cdot x_{p+t}`. It can therefore be computed exactly
    as a 1x1 convolution to :math:`k^d` taps followed by this sum. This takes advantage
    of wide 1x1 kernels, which a convolution with a single output channel cannot use.

    Args:
        taps: a tensor of shape `[B, kernel_size**d, *space]`, where d is 1, 2 or 3 and
            the taps are in row-major order.

    Returns:
        A tensor of shape `[B, 1, *space]`.

    >>> import torch
    >>> from deepseek_learn.attention import shift_sum
    >>> taps = torch.zeros(1, 9, 3, 3)
    >>> taps[0, 4] = 1  # the center of the kernel: no shift
    >>> shift_sum(taps)
    tensor([[[[1., 1., 1.],
              [1., 1., 1.],
              [1., 1., 1.]]]])
    """
    space = taps.shape[2:]
    sides = (kernel_size // 2,) * (2 * len(space))
    padded = F.pad(taps, sides)  # zeros, as a conv pads
    windows = []
    for t, shift in enumerate(product(range(kernel_size), repeat=len(space))):
        window = padded[:, t : t + 1]
        for axis, (start, size) in enumerate(zip(shift, space, strict=True), start=2):
            window = window.narrow(axis, start, size)  # a view: nothing is copied
        windows.append(window)
    return sum(windows[1:], windows[0])


def tap_weight(convolution: nn.modules.conv._ConvNd) -> Tensor:
    """Reshape the weight of a one-channel convolution to `[k**d, C]`.

    The original shape is `[1, C, k, ...]`.
    """
    return convolution.weight[0].flatten(1).T


class SpatialChannelAttention(nn.Module):
    r"""Multiply the input by the sum of a spatial gate and a channel gate.

    At position p of the sequence, image or volume and in channel c, the output is

    .. math:: y_{cp} = g\, x_{cp} \Bigl(\sigma\bigl(b + \sum_{t,i} K_{it}\,
              x_{i,p+t}\bigr) + \sigma\bigl(W_2\,\mathrm{relu}(W_1 \bar x)\bigr)_c\Bigr)

    where t runs over the :math:`k^d` taps of the kernel and :math:`\bar x_i` is the
    mean of channel i over all positions. The cost is :math:`O(C\,k^d\,N)` for N
    positions, compared with :math:`O(C\,N^2)` for self-attention.

    Args:
        channels: the number of channels C of the input, which has the shape
            `[B, C, T]`, `[B, C, H, W]` or `[B, C, D, H, W]`.
        reduction: the reduction ratio of the channel gate, whose bottleneck is
            `max(channels // reduction, 1)` wide.
        kernel_size: the side length of the spatial gate's kernel, which must be odd.
        dims: the number of dimensions d: 1 for series, 2 for images, 3 for volumes.
        scale: the mean factor applied to `x` at initialization. Each gate starts near
            0.5, so their sum starts near 1. `"unit"` (the default) keeps this value,
            and a number rescales it by the constant :math:`g`. Always compare modules
            at the same scale, since this factor explains most of the measured
            differences between them.
        identity: whether the module initially computes exactly `scale * x`, with both
            gates at 0.5. This is useful for pretrained networks.

    Raises:
        ValueError: if the input has the wrong rank or number of channels.
        TypeError: if `channels` is not an integer.

    >>> import torch
    >>> from deepseek_learn.attention import SpatialChannelAttention
    >>> x = torch.rand(2, 16, 8, 8)
    >>> attention = SpatialChannelAttention(16)
    >>> attention(x).shape
    torch.Size([2, 16, 8, 8])
    """

    native_scale = 1.0  # two sigmoid gates at 0.5 each, added

    def __init__(
        self,
        channels: int,
        reduction: int = 8,
        kernel_size: int = 3,
        dims: int = 2,
        scale: float | str = "unit",
        identity: bool = False,
    ):
        super().__init__()
        if dims not in CONV:
            raise ValueError(f"dims must be 1, 2 or 3; got {dims!r}.")
        check_count("channels", channels)
        check_count("reduction", reduction)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd; got {kernel_size}.")
        self.channels, self.dims, self.kernel_size = channels, dims, kernel_size
        self.gain = resolve_scale(scale) / self.native_scale
        hidden = max(channels // reduction, 1)
        self.spatial = CONV[dims](channels, 1, kernel_size, padding=kernel_size // 2)
        self.squeeze = nn.Linear(channels, hidden)
        self.excite = nn.Linear(hidden, channels)
        # sigmoid(0) is 0.5; earlier layers stay random, or nothing would learn
        if identity:
            for layer in (self.spatial, self.excite):
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)

    def gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute both gates for features of shape `[B, C, *space]`.

        Returns:
            The spatial gate, of shape `[B, 1, *space]`, and the channel gate, of shape
            `[B, C, 1, ...]`.
        """
        self._check(x)
        # 1. The spatial gate: a 1x1 convolution computes what each tap contributes, and
        # the shifted sum adds it up, as one kernel of size k**d would.
        weight = tap_weight(self.spatial).reshape(-1, self.channels, *(1,) * self.dims)
        taps = POINTWISE[self.dims](x, weight)  # [B, k**d, *space]
        assert self.spatial.bias is not None
        spatial = torch.sigmoid(shift_sum(taps, self.kernel_size) + self.spatial.bias)
        # 2. The channel gate, from the mean over all positions.
        mean = x.flatten(2).mean(2)  # [B, C]
        channel = torch.sigmoid(self.excite(F.relu(self.squeeze(mean))))
        channel = channel.reshape(*channel.shape, *(1,) * self.dims)  # [B, C, 1, ...]
        return spatial.to(x.dtype), channel.to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Apply both gates to features of shape `[B, C, *space]`."""
        spatial, channel = self.gates(x)
        return combine(x, spatial, channel, self.gain)

    def _check(self, x: Tensor) -> None:
        if x.dim() != self.dims + 2 or x.shape[1] != self.channels:
            raise ValueError(
                f"x must be [B, {self.channels}, {LAYOUT[self.dims]}] ({self.dims}-D "
                f"features with {self.channels} channels); got shape {list(x.shape)}."
            )

    def extra_repr(self) -> str:
        return f"channels={self.channels}, dims={self.dims}, gain={self.gain:g}"


# `_level()` is None except in torch.func transforms, which do not support `out=`
_level = getattr(torch._C._functorch, "maybe_current_level", lambda: None)


def _in_functorch() -> bool:
    return _level() is not None


def combine(x: Tensor, spatial: Tensor, channel: Tensor, gain: float = 1.0) -> Tensor:
    """Return `gain * x * (spatial + channel)` in the memory layout of `x`.

    Without gradients, this needs only one new tensor and one multiplication by `x`.
    With gradients, under tracing or in `vmap`, it computes `x * channel + x * spatial`
    with a fused multiply-add, which saves only `x` and the two small gates for the
    backward pass.
    """
    if gain != 1.0:  # scale the small gates, not the large features
        spatial, channel = spatial * gain, channel * gain
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or _in_functorch():
        return torch.addcmul(x * channel, x, spatial)
    # `out` preserves channels-last, which a plain sum of the two gates would lose
    return torch.add(spatial, channel, out=torch.empty_like(x)).mul_(x)


def resolve_scale(scale: float | str) -> float:
    """Return 1 for `"unit"`; return a positive number unchanged."""
    if isinstance(scale, str) and scale == "unit":
        return 1.0
    if not isinstance(scale, Real) or not 0 < scale < inf:
        raise ValueError(f'scale must be "unit" or a positive number; got {scale!r}.')
    return float(scale)
