"""The geometry of convolutions: padding, patches and output sizes."""

from collections.abc import Sequence
from math import prod
from typing import Any, Protocol

import torch.nn.functional as F
from torch import Tensor

Sizes = Sequence[int]  # one per axis of a convolution
SETTINGS = ("kernel_size", "stride", "padding", "dilation", "padding_mode")


class Geometry(Protocol):
    """The settings of a convolution, in float or packed."""

    @property
    def kernel_size(self) -> Sizes: ...
    @property
    def stride(self) -> Sizes: ...
    @property
    def padding(self) -> Sizes | str: ...
    @property
    def dilation(self) -> Sizes: ...
    @property
    def padding_mode(self) -> str: ...


def settings(layer: Geometry) -> dict[str, Any]:
    """Return the settings as the keyword arguments of a convolution."""
    return {name: getattr(layer, name) for name in SETTINGS}


def geometry(layer: Geometry) -> tuple[Sizes, Sizes, Sizes, Sizes]:
    """Return the kernel size, stride, padding and dilation of a convolution.

    The padding is that of an input that `padded` has padded, with zeros on both sides.
    """
    padding = [0 if uneven_padding(layer) else first for first, _ in _sides(layer)]
    return layer.kernel_size, layer.stride, tuple(padding), layer.dilation


def padded(layer: Geometry, x: Tensor) -> Tensor:
    """Pad an input of shape `[B, C, *size]` as only `F.pad` can.

    A convolution itself pads with zeros, and equally on both sides of an axis.
    """
    if not (sides := uneven_padding(layer)):
        return x
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    return F.pad(x, sides, mode)


def uneven_padding(layer: Geometry) -> list[int]:
    """Return the sides to pad in the order of `F.pad`, or [] if `geometry` has them."""
    sides = _sides(layer)
    even = all(first == last for first, last in sides)
    if not any(map(any, sides)) or (even and layer.padding_mode == "zeros"):
        return []
    return [side for axis in reversed(sides) for side in axis]


def _sides(layer: Geometry) -> list[tuple[int, int]]:
    """Return the padding before and after each axis."""
    if layer.padding == "same":
        reach = [
            d * (k - 1) for k, d in zip(layer.kernel_size, layer.dilation, strict=True)
        ]
        return [(total // 2, total - total // 2) for total in reach]
    if isinstance(layer.padding, str):  # "valid"
        return [(0, 0)] * len(layer.kernel_size)
    return [(p, p) for p in layer.padding]


def patches(
    x: Tensor, kernel_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> Tensor:
    """Copy the patches of an input to the rows of a matrix.

    The input has shape `[B, C, *size]`, and the matrix has B * prod(size') rows and
    prod(kernel) * C columns.
    """
    axes = len(kernel_size)
    if x.dim() != axes + 2:
        names = ("L", "H, W", "D, H, W")[axes - 1]
        raise ValueError(
            f"a convolution's input must be [B, C, {names}]; got {list(x.shape)}."
        )
    if any(padding):
        x = F.pad(x, [p for p in reversed(padding) for _ in range(2)])
    x = x.movedim(1, -1)  # [B, *size, C]
    batch, *spatial, channels = x.shape
    size = output_size(spatial, kernel_size, stride, (0,) * axes, dilation)
    first, *steps, last = x.stride()
    window_steps = [step * s for step, s in zip(steps, stride, strict=True)]
    kernel_steps = [step * d for step, d in zip(steps, dilation, strict=True)]
    windows = x.as_strided(  # [B, *size', *kernel, C], a view without a copy
        (batch, *size, *kernel_size, channels),
        (first, *window_steps, *kernel_steps, last),
    )
    return windows.reshape(batch * prod(size), prod(kernel_size) * channels)


def output_size(
    size: Sizes, kernel_size: Sizes, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[int, ...]:
    """Compute the output size of a convolution along each of its axes."""
    return tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(
            size, kernel_size, stride, padding, dilation, strict=True
        )
    )
