"""Small networks with every kind of parameter."""

import pytest
import torch
from torch import nn


class Net(nn.Module):
    """An embedding, a fused projection, linear layers, kernels, norms and a head."""

    def __init__(self):
        super().__init__()
        self.token = nn.Embedding(11, 8)
        self.qkv = nn.Linear(8, 24)
        self.mix = nn.Linear(24, 8, bias=False)
        self.more = nn.Linear(8, 24, bias=False)
        self.conv = nn.Conv1d(24, 6, 3, padding=1)
        self.norm = nn.LayerNorm(6)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        x = self.token(x)  # [B, T, 8]
        x = torch.relu(self.mix(torch.tanh(self.qkv(x))))
        x = self.conv(self.more(x).transpose(1, 2)).transpose(1, 2)
        return self.head(self.norm(x))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net()


def batches(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        x = torch.randint(11, (4, 7), generator=generator)
        yield x, (x * 3 + 1) % 5


def learn(model, optimizer, pairs, scheduler=None):
    """One step per pair; returns the losses."""
    losses = []
    for x, y in pairs:
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        losses.append(loss.item())
    return losses
