"""A small residual network for Fashion-MNIST.

It has 175 k parameters and is fast on a laptop.
"""

from torch import Tensor, nn


class ResidualBlock(nn.Module):
    """A block of two 3x3 convolutions with batch norm and a residual connection.

    The input is added before the last ReLU.
    """

    def __init__(self, c_in: int, c_out: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(
                nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        shortcut = x if self.downsample is None else self.downsample(x)
        return self.relu(y + shortcut)


class SmallResNet(nn.Module):
    """A small residual network for classifying images.

    It maps images of shape `[B, in_channels, H, W]` with values from 0 to 1 to logits
    of shape `[B, num_classes]`.

    Args:
        widths: the number of channels in each stage. A stage consists of one block, and
            every stage except the first halves the resolution.
        pool: the size of the max pooling after the stem; 1 disables it.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        widths: tuple[int, ...] = (32, 64, 128),
        pool: int = 1,
    ):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, widths[0], 3, 1, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(pool) if pool > 1 else nn.Identity(),
        )
        stages, c_in = [], widths[0]
        for i, width in enumerate(widths):
            stages.append(ResidualBlock(c_in, width, stride=1 if i == 0 else 2))
            c_in = width
        self.stages = nn.Sequential(*stages)
        self.classifier = nn.Linear(c_in, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.stages(self.stem(x)).mean((2, 3)))


def fashion_net() -> nn.Module:
    """Build the network for Fashion-MNIST.

    It maps images of shape `[B, 1, 28, 28]` with values from 0 to 1 to logits of shape
    `[B, 10]`.
    """
    return SmallResNet()
