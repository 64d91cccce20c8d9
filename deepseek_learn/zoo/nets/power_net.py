"""A small 1-D network that corrects a wind turbine's power curve."""

import torch.nn.functional as F
from torch import Tensor, nn

from ...attention import SpatialChannelAttention

DILATIONS = (1, 2, 4, 8)  # of the blocks: each step sees four hours on either side


class DilatedBlock(nn.Module):
    """A dilated convolution and a pointwise one, with a residual connection."""

    def __init__(self, channels: int, dilation: int, attention: bool):
        super().__init__()
        self.wide = nn.Conv1d(
            channels, channels, 3, padding=dilation, dilation=dilation
        )
        self.norm = nn.GroupNorm(4, channels)
        self.mix = nn.Conv1d(channels, channels, 1)
        self.attention: nn.Module = nn.Identity()
        if attention:
            self.attention = SpatialChannelAttention(channels, dims=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.attention(self.mix(F.silu(self.norm(self.wide(x)))))


class PowerNet(nn.Module):
    r"""Predict a turbine's power from its wind, step by step.

    .. math:: \hat P_t = c_t + f(x)_t

    Here :math:`c` is what the turbine's own power curve says, which is the first channel
    of x, and f is the network, which starts at zero.

    Args:
        inputs: the number of channels of x, `[B, inputs, T]`; the output is `[B, T]`.
        channels: a multiple of 8.
        attention: whether to use spatial-channel attention.
    """

    def __init__(self, inputs: int = 6, channels: int = 32, attention: bool = True):
        super().__init__()
        self.first = nn.Conv1d(inputs, channels, 5, padding=2)
        self.blocks = nn.Sequential(
            *[DilatedBlock(channels, d, attention) for d in DILATIONS]
        )
        self.last = nn.Conv1d(channels, 1, 1)
        for parameter in self.last.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0] + self.last(self.blocks(self.first(x)))[:, 0]
