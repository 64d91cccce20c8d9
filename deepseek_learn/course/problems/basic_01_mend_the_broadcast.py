# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""The guide's forward line makes six axes out of four; the learner mends it."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .. import expect
from ..problem import Failed, Problem

LAYERS = """import torch
from torch import nn


class SpatialChannelAttention(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.spatial_attn = nn.Conv2d(in_channels, 1, kernel_size=3, padding=1)
        self.channel_attn = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(in_channels, in_channels // 8, kernel_size=1),
            nn.ReLU(),
            nn.Conv2d(in_channels // 8, in_channels, kernel_size=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
"""


def forward(*lines: str, layers: str = LAYERS) -> str:
    return layers + "".join(f"        {line}\n" for line in lines)


def other_layers(old: str, new: str) -> str:
    assert old in LAYERS
    return LAYERS.replace(old, new)


def check(answer, rng) -> None:
    expect.function(answer, "SpatialChannelAttention")
    for trial in range(4):
        batch, channels = int(rng.integers(2, 5)), int(rng.integers(8, 32))
        height, width = (int(n) for n in rng.integers(3, 9, size=2))
        if trial == 0:  # so many hidden channels that some are alive: gates differ
            batch, channels = 4, 128
        if trial == 1:  # axes of length one
            batch, height, width = 1, 1, 1
        if trial == 2:  # a gate's axis fits in more places than one
            batch = height = width = channels = 8
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**31)))
            module = expect.call(answer, channels)
        size = (
            rng.normal(size=(batch, 1, 1, 1))
            + 2 * np.arange(batch)[:, None, None, None]
        )
        x = rng.normal(size=(batch, channels, height, width)) + size
        x = torch.from_numpy(x).float()
        want = reference(module, x)
        got = expect.call(module, x)
        expect.close(got, want, "module(x)")
        if not learns(module, got):
            raise Failed("mend_the_broadcast.gradient")


@torch.no_grad()
def reference(module, x: torch.Tensor) -> torch.Tensor:
    """From the learner's weights, by functions: its `forward` does not run."""
    if not isinstance(module, nn.Module):
        raise Failed("mend_the_broadcast.parameters")
    weights = expect.call(lambda: dict(module.state_dict()))
    kernel, bias, *layers = read(weights, channels=x.shape[1])
    spatial = torch.sigmoid(F.conv2d(x, kernel, bias, padding=1))  # [B, 1, H, W]
    hidden = F.relu(F.conv2d(x.mean((2, 3), keepdim=True), *layers[:2]))
    channel = torch.sigmoid(F.conv2d(hidden, *layers[2:]))  # [B, C, 1, 1]
    return x * (spatial + channel)


def learns(module: nn.Module, got: torch.Tensor) -> bool:
    """Each of the six parameters gets a gradient."""
    found = dict(module.named_parameters())
    parameters = [found[key] for key in KEYS if key in found]
    if len(parameters) < len(KEYS) or not got.requires_grad:
        return False
    gradients = torch.autograd.grad(got.sum(), parameters, allow_unused=True)
    return all(gradient is not None for gradient in gradients)


def read(weights: dict, channels: int) -> list[torch.Tensor]:
    """The six parameters of `KEYS`; only the width between the two layers is free."""
    if not weights.keys() >= set(KEYS):
        raise Failed("mend_the_broadcast.parameters")
    hidden = expect.numbers(weights[KEYS[3]], KEYS[3]).size
    shapes = [(1, channels, 3, 3), (1,), (hidden, channels, 1, 1), (hidden,)]
    shapes += [(channels, hidden, 1, 1), (channels,)]
    return [
        torch.from_numpy(expect.shape(weights[key], shape, key)).float()
        for key, shape in zip(KEYS, shapes, strict=True)
    ]


LAYER_NAMES = ("spatial_attn", "channel_attn.1", "channel_attn.3")
KEYS = [f"{layer}.{kind}" for layer in LAYER_NAMES for kind in ("weight", "bias")]

problem = Problem(
    id="mend_the_broadcast",
    version=3,
    lesson="spatial_channel_attention",
    stage="basic",
    title={"en": "Mend the broadcast", "zh": "修好广播"},
    prompt={
        "en": """The guide ends its `forward` with

```python
return x * spatial_weights + x * channel_weights.unsqueeze(-1).unsqueeze(-1)
```

`channel_weights` already has the shape `[B, C, 1, 1]`. Two more axes raise no error: the
product silently becomes `[B, C, B, C, H, W]`. Write a `forward` that returns
`x * spatial gate + x * channel gate` in the shape of `x`, `[B, C, H, W]`; the spatial
gate is the sigmoid of `spatial_attn`. Keep the layers of `__init__` as they are: the check
reads their weights. They are to be trained, so each must get its gradient.""",
        "zh": """指南中的 `forward` 以这一行结尾：

```python
return x * spatial_weights + x * channel_weights.unsqueeze(-1).unsqueeze(-1)
```

可是 `channel_weights` 的形状已经是 `[B, C, 1, 1]`。再加两个轴并不会报错：乘积会悄悄变成
`[B, C, B, C, H, W]`。请写出 `forward`，返回 `x * 空间门控 + x * 通道门控`，形状与 `x` 相同，即
`[B, C, H, W]`；空间门控是 `spatial_attn` 输出的 sigmoid。`__init__` 里的各层请保持不变：检查要读取它们的权重。这些层还要训练，所以每一层都必须得到梯度。""",
    },
    starter=forward("..."),
    answer="SpatialChannelAttention",
    hints=(
        {
            "en": "Print the shapes of both gates. Which axes have length 1, and which "
            "axis of `x` does each of them stretch along?",
            "zh": "把两个门控的形状打印出来。哪些轴的长度是 1？它们各自沿着 `x` 的哪个轴展开？",
        },
        {
            "en": "`[B, C, 1, 1] * [B, C, H, W]` already broadcasts as you need. There "
            "is nothing to add, only two `unsqueeze`s to leave out.",
            "zh": "`[B, C, 1, 1] * [B, C, H, W]` 本来就会按需要广播。什么都不用加，"
            "只要去掉那两个 `unsqueeze`。",
        },
    ),
    check=check,
    solution=forward(
        "spatial = torch.sigmoid(self.spatial_attn(x))  # [B, 1, H, W]",
        "channel = self.channel_attn(x)  # [B, C, 1, 1]",
        "return x * spatial + x * channel",
    ),
    wrong={
        "the guide's own line": forward(
            "spatial = torch.sigmoid(self.spatial_attn(x))",
            "channel = self.channel_attn(x)",
            "return x * spatial + x * channel.unsqueeze(-1).unsqueeze(-1)",
        ),
        "the gates multiplied": forward(
            "return x * torch.sigmoid(self.spatial_attn(x)) * self.channel_attn(x)"
        ),
        "no sigmoid on the spatial gate": forward(
            "return x * self.spatial_attn(x) + x * self.channel_attn(x)"
        ),
        "the spatial gate of what the channel gate leaves": forward(
            "y = x * self.channel_attn(x)",
            "return x * torch.sigmoid(self.spatial_attn(y)) + y",
        ),
        "without gradients": forward(
            "with torch.no_grad():",
            "    gates = torch.sigmoid(self.spatial_attn(x)) + self.channel_attn(x)",
            "return x * gates",
        ),
        "one gate without its gradient": forward(
            "spatial = torch.sigmoid(self.spatial_attn(x))",
            "return x * (spatial + self.channel_attn(x).detach())",
        ),
        "the gates squeezed": forward(
            "channel = self.channel_attn(x).squeeze()",
            "return x * (torch.sigmoid(self.spatial_attn(x)) + channel)",
        ),
        "written over x": forward(
            "gates = torch.sigmoid(self.spatial_attn(x)) + self.channel_attn(x)",
            "return x.mul_(gates.detach())",
        ),
        "the first picture's gate for all": forward(
            "channel = self.channel_attn(x)[:1]",
            "return x * (torch.sigmoid(self.spatial_attn(x)) + channel)",
        ),
        "the gate of the mean picture": forward(
            "channel = self.channel_attn(x.mean(0, keepdim=True))",
            "return x * (torch.sigmoid(self.spatial_attn(x)) + channel)",
        ),
        "a 5x5 kernel": forward(
            "return x * torch.sigmoid(self.spatial_attn(x)) + x * self.channel_attn(x)",
            layers=other_layers("kernel_size=3, padding=1", "kernel_size=5, padding=2"),
        ),
        "a linear layer in place of a convolution": forward(
            "return x * torch.sigmoid(self.spatial_attn(x)) + x * self.channel_attn(x)",
            layers=other_layers(
                "nn.Conv2d(in_channels, in_channels // 8, kernel_size=1)",
                "nn.Linear(1, in_channels // 8)",
            ),
        ),
    },
    right={
        "the gates added first": forward(
            "spatial, channel = self.spatial_attn(x), self.channel_attn(x)",
            "return (channel + spatial.sigmoid()) * x",
        ),
        "stretched by hand, in float64": forward(
            "spatial = 1 / (1 + torch.exp(-self.spatial_attn(x))).expand_as(x)",
            "channel = self.channel_attn(x).flatten(1)[:, :, None, None].double()",
            "return x * spatial + torch.einsum('bcij,bchw->bchw', channel, x.double())",
        ),
    },
    points=1,
    minutes=10,
)
