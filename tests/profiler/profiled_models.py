"""Networks with hand-counted costs, for the profiler's tests."""

import torch
import torch.nn.functional as F
from torch import nn


class Functional(nn.Module):
    """Attention from functions only, without modules."""

    def __init__(self, width: int = 32, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Parameter(torch.randn(3 * width, width) * 0.02)
        self.out = nn.Parameter(torch.randn(width, width) * 0.02)
        self.patch = nn.Parameter(torch.randn(width, 3, 4, 4) * 0.02)

    def forward(self, x):
        x = F.conv2d(x, self.patch, stride=4).flatten(2).transpose(1, 2)  # [B, N, E]
        heads = [
            t.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for t in (x @ self.qkv.T).chunk(3, -1)
        ]
        y = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        return torch.einsum("bnd,ed->bne", y, self.out)

    @staticmethod
    def macs(batch: int, size: int, width: int = 32) -> int:
        tokens = (size // 4) ** 2
        products = tokens * width * (3 * 16) + tokens * width * 4 * width
        return batch * (products + 2 * tokens**2 * width)


class Experts(nn.Module):
    """A mixture of experts: each token is routed to one of them by its sign."""

    def __init__(self, width: int = 8, experts: int = 2):
        super().__init__()
        self.experts = nn.ModuleList(nn.Linear(width, width) for _ in range(experts))

    def forward(self, x):  # [N, E]
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            rows = (x[:, 0] > 0).long().eq(i).nonzero()[:, 0]
            y.index_add_(0, rows, expert(x[rows]))
        return y


class Tied(nn.Module):
    """One layer in two places, and one weight in two layers."""

    def __init__(self):
        super().__init__()
        shared = nn.Linear(4, 4)
        self.first = nn.Sequential(shared, nn.ReLU())
        self.second = nn.Sequential(nn.Tanh(), shared)
        self.head = nn.Linear(4, 4, bias=False)
        self.head.weight = shared.weight

    def forward(self, x):
        return self.head(self.second(self.first(x)))
