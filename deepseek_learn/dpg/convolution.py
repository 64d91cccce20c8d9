"""Convolutions whose weights are stored as packed bit-planes."""

from collections.abc import Callable
from math import prod

import torch.nn.functional as F
from torch import Tensor, nn

from .geometry import Sizes, geometry, output_size, padded, patches, settings
from .layers import DPGLayer, filled
from .packed import PackedMatrix

# Above this number of patches, copying them takes longer than unpacking the weight once
# and convolving in float. This is a rough value; the crossover depends on the layer.
FLOAT_ROWS = 1024


class DPGConv(DPGLayer):
    """A convolution with a packed weight.

    It maps inputs of shape `[B, C, *size]` to outputs of shape `[B, N, *size']`. If the
    batch has few output positions, the layer multiplies packed planes by patches. If it
    has many, the layer unpacks the weight temporarily and convolves in float, without
    rounding the activations. The output for an image therefore depends slightly on the
    batch size.
    """

    float_layer: type[nn.Module]
    _convolve: Callable
    size: str  # axis names for error messages

    def __init__(
        self,
        matrix: PackedMatrix,
        bias: Tensor | None,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes | str | None = None,
        dilation: Sizes | None = None,
        padding_mode: str = "zeros",
    ):
        super().__init__(matrix, bias)
        axes = len(kernel_size)
        self.kernel_size = tuple(kernel_size)
        self.stride = tuple(stride or (1,) * axes)
        padding = padding or (0,) * axes
        self.padding = padding if isinstance(padding, str) else tuple(padding)
        self.dilation = tuple(dilation or (1,) * axes)
        self.padding_mode = padding_mode
        self.in_channels = matrix.columns // prod(self.kernel_size)
        self.out_channels = matrix.rows

    def _unpacked(self) -> Tensor:  # [N, C, *kernel]
        matrix = self.matrix.dequantize()  # [N, prod(kernel) C], channels last
        shape = (self.out_channels, *self.kernel_size, self.in_channels)
        return matrix.view(shape).movedim(-1, 1)

    def plain(self) -> nn.Module:
        """Return an equivalent float layer for export, at the current precision."""
        layer = self.float_layer(
            self.in_channels,
            self.out_channels,
            **settings(self),
            bias=self.bias is not None,
            device="meta",
        )
        return filled(layer, self)

    def forward(self, x: Tensor) -> Tensor:
        layout = f"[B, {self.in_channels}, {self.size}]"
        if x.dim() != len(self.kernel_size) + 2:
            raise ValueError(f"x must be {layout}; got shape {list(x.shape)}.")
        self._check(x, self.in_channels, 1, layout)
        # what `F.conv` cannot pad itself is padded first; `geometry` then says 0 for it
        x, sizes = padded(self, x), geometry(self)
        size = output_size(x.shape[2:], *sizes)
        if min(size) < 1:
            raise ValueError(
                f"x is smaller than the kernel {self.kernel_size}: got {list(x.shape)}."
            )
        if len(x) * prod(size) > FLOAT_ROWS:
            bias = None if self.bias is None else self.bias.float()
            y = self._convolve(x.float(), self._unpacked(), bias, *sizes[1:])
            return y.to(x.dtype)
        y = self._multiply(patches(x, *sizes))  # [B * prod(size'), N]
        y = y.view(len(x), *size, self.out_channels).movedim(-1, 1)  # [B, N, *size']
        return y.to(x.dtype)


class DPGConv1d(DPGConv):
    """A packed 1-D convolution (see `DPGConv`).

    It maps inputs of shape `[B, C, L]` to outputs of shape `[B, N, L']`.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Conv1d(16, 32, 3))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> type(packed[0]).__name__, packed(torch.rand(1, 16, 20)).shape
    ('DPGConv1d', torch.Size([1, 32, 18]))
    """

    float_layer, _convolve, size = nn.Conv1d, staticmethod(F.conv1d), "L"


class DPGConv2d(DPGConv):
    """A packed 2-D convolution (see `DPGConv`).

    It maps inputs of shape `[B, C, H, W]` to outputs of shape `[B, N, H', W']`.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> type(packed[0]).__name__, packed(torch.rand(1, 16, 8, 8)).shape
    ('DPGConv2d', torch.Size([1, 32, 6, 6]))
    """

    float_layer, _convolve, size = nn.Conv2d, staticmethod(F.conv2d), "H, W"


class DPGConv3d(DPGConv):
    """A packed 3-D convolution (see `DPGConv`).

    It maps inputs of shape `[B, C, D, H, W]` to outputs of shape `[B, N, D', H', W']`.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> net = torch.nn.Sequential(torch.nn.Conv3d(8, 16, 3))
    >>> packed = dpg.convert(net, dpg.uniform(net, bits=4))
    >>> type(packed[0]).__name__, packed(torch.rand(1, 8, 5, 5, 5)).shape
    ('DPGConv3d', torch.Size([1, 16, 3, 3, 3]))
    """

    float_layer, _convolve, size = nn.Conv3d, staticmethod(F.conv3d), "D, H, W"
