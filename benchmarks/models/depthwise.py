"""Faster training of depthwise convolutions in bfloat16 on processors.

PyTorch computes the gradients of depthwise convolutions in bfloat16 with kernels that are
many times slower than those for float32, except for the gradient of the input at stride
1. `train_depthwise` makes a network use the fast ones.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution in bfloat16 whose gradients are computed in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, pad: int) -> Tensor:
        x, weight = x.bfloat16(), weight.bfloat16()
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.pad = stride, pad
        return F.conv2d(x, weight, None, stride, pad, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradients[0].contiguous(memory_format=torch.channels_last)
        exact = (gradient.float(), x.float(), weight.float())
        stride, pad = ctx.stride, ctx.pad
        if stride == 1:
            short = (gradient.bfloat16(), x, weight)
            of_x, _ = _gradients(short, stride, pad, (True, False))
            _, of_weight = _gradients(exact, stride, pad, (False, True))
        else:
            of_x, of_weight = _gradients(exact, stride, pad, (True, True))
        return of_x.bfloat16(), of_weight, None, None


def _gradients(
    tensors: tuple[Tensor, Tensor, Tensor],
    stride: int,
    pad: int,
    which: tuple[bool, bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the input and of the weight that `which` asks for.

    Args:
        tensors: the gradient of the output, the input and the weight.
    """
    of_x, of_weight, _ = torch.ops.aten.convolution_backward(
        *tensors,
        None,
        (stride, stride),
        (pad, pad),
        (1, 1),
        False,
        (0, 0),
        len(tensors[2]),
        (*which, False),
    )
    return of_x, of_weight


class DepthwiseConv2d(nn.Conv2d):
    """A square depthwise convolution that trains fast under autocast on a processor."""

    def forward(self, x: Tensor) -> Tensor:
        short = torch.is_autocast_enabled("cpu") and x.device.type == "cpu"
        if not (short and torch.is_grad_enabled()):
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            return _Depthwise.apply(
                x, self.weight, self.stride[0], int(self.padding[0])
            )


def train_depthwise(model: nn.Module) -> None:
    """Replace the depthwise convolutions in `model` in place; the weights are shared.

    The names of the parameters and what the network computes stay the same.
    """
    for parent in list(model.modules()):
        for name, layer in parent.named_children():
            if isinstance(layer, nn.Conv2d) and _is_depthwise(layer):
                fast = DepthwiseConv2d(
                    layer.in_channels,
                    layer.out_channels,
                    layer.kernel_size[0],
                    layer.stride[0],
                    int(layer.padding[0]),
                    groups=layer.groups,
                    bias=False,
                )
                fast.weight = layer.weight
                setattr(parent, name, fast.train(layer.training))


def _is_depthwise(layer: nn.Conv2d) -> bool:
    return (
        type(layer) is nn.Conv2d
        and layer.groups == layer.in_channels == layer.out_channels > 1
        and layer.bias is None
        and len({*layer.kernel_size}) == len({*layer.stride}) == 1
        and len({*layer.padding}) == 1
        and not isinstance(layer.padding, str)
        and layer.dilation == (1, 1)
        and layer.padding_mode == "zeros"
    )
