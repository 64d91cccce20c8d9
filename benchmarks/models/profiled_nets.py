"""The networks on which the profiler is compared with hand counts.

A hand count follows from the architecture's dimensions, layer by layer, 1 MAC = 2 FLOPs,
products only (convolutions, matrix products, attention, recurrent layers), without any
counting tool.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# --- cost of one layer -----------------------------------------------------------


def convolution(c_in: int, c_out: int, taps: int, positions: int) -> int:
    """Each of `positions` outputs of each channel: `taps` products of each input channel.

    Of a transposed one with stride = kernel: `positions` are the output's, `taps` 1.
    """
    return 2 * c_in * c_out * taps * positions


def depthwise(channels: int, taps: int, positions: int) -> int:
    return 2 * channels * taps * positions


def dense(c_in: int, c_out: int, rows: int = 1) -> int:
    return 2 * c_in * c_out * rows


def attention(tokens: int, width: int) -> int:
    """QK' and its product with V, for all heads."""
    return 2 * 2 * tokens * tokens * width


def recurrence(inputs: int, hidden: int, steps: int, gates: int = 4) -> int:
    """An LSTM layer: at each step four gates of the input and of the state."""
    return 2 * gates * hidden * (inputs + hidden) * steps


# --- cost of a network ------------------------------------------------------------


def resnet50_flops(side: int = 224) -> int:
    """He et al. 2015, table 1, the stride in the 3 x 3 convolution (as torchvision)."""
    total = convolution(3, 64, 7 * 7, (side // 2) ** 2)
    c_in, before = 64, side // 4
    for width, blocks, after in (
        (64, 3, side // 4),
        (128, 4, side // 8),
        (256, 6, side // 16),
        (512, 3, side // 32),
    ):
        total += convolution(c_in, 4 * width, 1, after**2)  # the projection shortcut
        for _ in range(blocks):
            total += convolution(c_in, width, 1, before**2)
            total += convolution(width, width, 3 * 3, after**2)
            total += convolution(width, 4 * width, 1, after**2)
            c_in, before = 4 * width, after
    return total + dense(2048, 1000)


def unet_flops(side: int = 256, width: int = 64, depth: int = 4) -> int:
    """Two 3 x 3 convolutions per level; 2 x 2 transposed ones on the way up."""
    total, c_in = 0, 3
    for level in range(depth + 1):  # down, the bottleneck last
        channels, positions = width << level, (side >> level) ** 2
        total += convolution(c_in, channels, 9, positions)
        total += convolution(channels, channels, 9, positions)
        c_in = channels
    for level in reversed(range(depth)):
        channels, positions = width << level, (side >> level) ** 2
        total += convolution(2 * channels, channels, 1, positions)  # transposed
        total += convolution(2 * channels, channels, 9, positions)
        total += convolution(channels, channels, 9, positions)
    return total + convolution(width, 2, 1, side**2)


def vit_flops(side: int = 224, patch: int = 16, width: int = 768, layers: int = 12):
    """Dosovitskiy et al. 2020, ViT-B/16; the feed-forward part four times as wide."""
    patches = (side // patch) ** 2
    tokens = patches + 1  # the class token
    block = dense(width, 3 * width, tokens) + dense(width, width, tokens)
    block += dense(width, 4 * width, tokens) + dense(4 * width, width, tokens)
    block += attention(tokens, width)
    embedding = convolution(3, width, patch * patch, patches)
    return embedding + layers * block + dense(width, 1000)


def functional_flops(side: int = 224, patch: int = 16, width: int = 256) -> int:
    tokens = (side // patch) ** 2
    total = convolution(3, width, patch * patch, tokens)
    total += dense(width, 3 * width, tokens) + attention(tokens, width)
    return total + dense(width, width, tokens)


def lstm_flops(steps: int = 50, inputs: int = 64, hidden: int = 128) -> int:
    return recurrence(inputs, hidden, steps) + recurrence(hidden, hidden, steps)


def fashion_net_flops(side: int = 28) -> int:
    """A 3 x 3 stem, three residual blocks of two 3 x 3 convolutions."""
    total = convolution(1, 32, 9, side**2)
    total += 2 * convolution(32, 32, 9, side**2)
    for c_in, c_out, positions in (
        (32, 64, (side // 2) ** 2),
        (64, 128, (side // 4) ** 2),
    ):
        total += convolution(c_in, c_out, 9, positions)
        total += convolution(c_out, c_out, 9, positions)
        total += convolution(c_in, c_out, 1, positions)  # the shortcut
    return total + dense(128, 10)


def efficientnet_lite0_flops(side: int = 224, c_image: int = 3, classes: int = 1000):
    """Tan & Le 2019, table 1: expansion, channels, repeats, stride, kernel."""
    side //= 2
    total, c_in = convolution(c_image, 32, 9, side**2), 32
    for expansion, c_out, repeats, stride, kernel in (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    ):
        for repeat in range(repeats):
            hidden = c_in * expansion
            if expansion > 1:
                total += convolution(c_in, hidden, 1, side**2)
            side //= stride if repeat == 0 else 1
            total += depthwise(hidden, kernel * kernel, side**2)
            total += convolution(hidden, c_out, 1, side**2)
            c_in = c_out
    return total + convolution(320, 1280, 1, side**2) + dense(1280, classes)


def solar_defects_flops(side: int = 288) -> int:
    """EfficientNet-Lite0 on gray images, two classes, and three attention modules."""
    total = efficientnet_lite0_flops(side, c_image=1, classes=2)
    for channels, stride in ((40, 8), (112, 16), (320, 32)):
        total += convolution(channels, 1, 9, (side // stride) ** 2)
        total += 2 * dense(channels, channels // 8)
    return total


# --- the networks -----------------------------------------------------------------


class FunctionalAttention(nn.Module):
    """Attention on the patches of `[B, 3, H, W]`, by functions instead of modules."""

    def __init__(self, width: int = 256, heads: int = 4, patch: int = 16):
        super().__init__()
        self.heads, self.patch = heads, patch
        self.embed = nn.Parameter(torch.randn(width, 3, patch, patch) * 0.02)
        self.qkv = nn.Parameter(torch.randn(3 * width, width) * 0.02)
        self.out = nn.Parameter(torch.randn(width, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.embed, stride=self.patch).flatten(2).mT  # [B, N, E]
        parts = (x @ self.qkv.T).chunk(3, -1)
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v)  # [B, heads, N, E / heads]
        return torch.einsum("bne,fe->bnf", y.transpose(1, 2).flatten(2), self.out)


class Volumes(nn.Sequential):
    """A 3-D classifier: `[B, 1, D, H, W]` → `[B, 2]`."""

    def __init__(self):
        layers = []
        for c_in, c_out in ((1, 16), (16, 32), (32, 64)):
            layers += [nn.Conv3d(c_in, c_out, 3, padding=1, bias=False)]
            layers += [nn.BatchNorm3d(c_out), nn.ReLU(inplace=True), nn.MaxPool3d(2)]
        super().__init__(
            *layers, nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(64, 2)
        )


@dataclass(frozen=True)
class Net:
    """`build()` returns a network and an example; `flops`: hand count of one pass."""

    build: Callable[[], tuple[nn.Module, Tensor]]
    flops: int | None = None


def _net(make: Callable[[], nn.Module], *shape: int, flops: int | None = None) -> Net:
    """Random weights and a random example, the same each time."""

    def build() -> tuple[nn.Module, Tensor]:
        torch.manual_seed(0)
        model = make().eval()
        return model, torch.randn(shape)

    return Net(build, flops)


def _vision(name: str, *shape: int, flops: int | None = None) -> Net:
    def make() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(weights=None)

    return _net(make, *shape, flops=flops)


def _unet() -> nn.Module:
    from deepseek_learn.zoo.nets.unet import UNet

    return UNet(in_channels=3, out_channels=2, width=64, depth=4)


def _lstm() -> nn.Module:
    return nn.LSTM(64, 128, num_layers=2, batch_first=True)


def _zoo(name: str, flops: int) -> Net:
    def build() -> tuple[nn.Module, Tensor]:
        from deepseek_learn import zoo

        return zoo.load(name), zoo.example(name)

    return Net(build, flops)


PICTURE = (3, 224, 224)
FIVE = {
    "ResNet-50": _vision("resnet50", 1, *PICTURE, flops=resnet50_flops()),
    "U-Net-64": _net(_unet, 1, 3, 256, 256, flops=unet_flops()),
    "ViT-B/16": _vision("vit_b_16", 1, *PICTURE, flops=vit_flops()),
    "functional attention": _net(
        FunctionalAttention, 1, *PICTURE, flops=functional_flops()
    ),
    "2-layer LSTM": _net(_lstm, 1, 50, 64, flops=lstm_flops()),
}
# a compressed model computes the same products as its original
ZOO = {
    name: _zoo(name, flops)
    for original, flops in (
        ("efficientnet_lite0", efficientnet_lite0_flops()),
        ("fashion_net", fashion_net_flops()),
        ("solar_defects", solar_defects_flops()),
    )
    for name in (original, f"{original}_dpg")
}
MEMORY = {
    "ResNet-50, batch 8": _vision("resnet50", 8, *PICTURE),
    "U-Net-64 at 256, batch 1": FIVE["U-Net-64"],
    "ViT-B/16, batch 4": _vision("vit_b_16", 4, *PICTURE),
    "EfficientNet-B0, batch 8": _vision("efficientnet_b0", 8, *PICTURE),
    "3-D network on 64 x 64 x 64, batch 1": _net(Volumes, 1, 1, 64, 64, 64),
    "2-layer LSTM, batch 32": _net(_lstm, 32, 50, 64),
}
COST = {
    "ResNet-50, batch 1": FIVE["ResNet-50"],
    "U-Net-64 at 256, batch 1": FIVE["U-Net-64"],
    "ViT-B/16, batch 1": FIVE["ViT-B/16"],
    "functional attention, batch 16": _net(FunctionalAttention, 16, *PICTURE),
    "2-layer LSTM, batch 64": _net(_lstm, 64, 50, 64),
}
SMALL = {"fashion_net, batch 1": ZOO["fashion_net"]}
ALL = FIVE | ZOO | MEMORY | COST | SMALL
