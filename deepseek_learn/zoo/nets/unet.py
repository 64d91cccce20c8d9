"""A small, plain U-Net with configurable width and depth.

Lesson: `notebooks/basic/05_profiler.ipynb`.
"""

import torch
from torch import Tensor, nn


class DoubleConv(nn.Sequential):
    """Two 3x3 convolutions, each followed by batch norm and ReLU.

    The block maps a tensor of shape `[B, c_in, H, W]` to `[B, c_out, H, W]`.
    """

    def __init__(self, c_in: int, c_out: int):
        layers: list[nn.Module] = []
        for channels in (c_in, c_out):
            layers += [nn.Conv2d(channels, c_out, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(c_out), nn.ReLU(inplace=True)]
        super().__init__(*layers)


class UNet(nn.Module):
    """A U-Net that predicts logits for each pixel of an image.

    The input has shape `[B, in_channels, H, W]`, and the output has shape
    `[B, out_channels, H, W]`. Each of the `depth` encoder steps consists of two
    convolutions, after which the resolution is halved and the number of channels is
    doubled. Each of the `depth` decoder steps consists of a transposed convolution,
    concatenation with the encoder output of the same resolution, and two convolutions
    (Ronneberger et al. 2015, "U-Net", arXiv 1505.04597; here with batch norm, and
    padded so that the size is preserved).

    Args:
        width: the number of channels at full resolution; the bottleneck has
            `width * 2**depth`.
        depth: the number of times the resolution is halved; H and W must be multiples
            of `2**depth`.

    Raises:
        ValueError: if `width` or `depth` is less than 1 or, in `forward`, if H or W is
            not a multiple of `2**depth`.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 2,
        width: int = 16,
        depth: int = 3,
    ):
        super().__init__()
        for name, number in (("width", width), ("depth", depth)):
            if number < 1:
                raise ValueError(f"{name} must be at least 1; got {number}.")
        widths = [width * 2**i for i in range(depth + 1)]
        self.depth = depth
        self.down = nn.ModuleList()
        self.up, self.join = nn.ModuleList(), nn.ModuleList()
        for c_in, c_out in zip([in_channels, *widths], widths[:-1], strict=False):
            self.down.append(DoubleConv(c_in, c_out))
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = DoubleConv(widths[-2], widths[-1])
        for channels in reversed(widths[:-1]):
            self.up.append(nn.ConvTranspose2d(2 * channels, channels, 2, stride=2))
            self.join.append(DoubleConv(2 * channels, channels))
        self.head = nn.Conv2d(width, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        unit = 2**self.depth
        if x.shape[-2] % unit or x.shape[-1] % unit:
            raise ValueError(
                f"x must have a height and width that are multiples of {unit}; got "
                f"{list(x.shape)}."
            )
        skips = []
        for block in self.down:
            x = block(x)  # [B, C, H, W]
            skips.append(x)
            x = self.pool(x)  # [B, C, H / 2, W / 2]
        x = self.bottleneck(x)  # [B, 2 C, H / 2, W / 2] of the last level
        for up, join in zip(self.up, self.join, strict=True):
            x = torch.cat([skips.pop(), up(x)], 1)  # [B, 2 C, 2 H, 2 W]
            x = join(x)  # [B, C, 2 H, 2 W]
        return self.head(x)


def bacteria_unet() -> UNet:
    """Build the U-Net for the bacteria dataset.

    It maps images of shape `[B, 1, H, W]` with values from 0 to 1 to logits of shape
    `[B, 2, H, W]`. H and W must be multiples of 8.
    """
    return UNet(width=16, depth=3)
