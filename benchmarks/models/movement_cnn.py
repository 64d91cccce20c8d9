"""A 1-D CNN with SC-attention that reads movements: the obvious network, as a peer."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepseek_learn.attention import SpatialChannelAttention


class Block(nn.Module):
    """A depthwise and a pointwise convolution, and attention."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.wide = nn.Conv1d(inputs, inputs, 5, stride, 2, groups=inputs, bias=False)
        self.mix = nn.Conv1d(inputs, outputs, 1, bias=False)
        self.norm = nn.BatchNorm1d(outputs)
        self.attention = SpatialChannelAttention(outputs, dims=1)
        self.residual = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        z = self.attention(F.silu(self.norm(self.mix(self.wide(x)))))
        return x + z if self.residual else z


class MovementCnn(nn.Module):
    """Windows `[B, 6, 128]` → logits `[B, 12]`, with 36,837 parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv1d(6, 32, 7, 2, 3, bias=False), nn.BatchNorm1d(32), nn.SiLU()
        )
        sizes = [(32, 32, 1), (32, 64, 2), (64, 64, 1), (64, 96, 2), (96, 96, 1)]
        self.body = nn.Sequential(*[Block(*size) for size in sizes])
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(2 * 96 + 6, 12)

    def forward(self, x: Tensor) -> Tensor:
        z = self.body(self.stem(x))
        pooled = torch.cat([z.mean(2), z.amax(2), x.mean(2)], 1)
        return self.head(self.drop(pooled))
