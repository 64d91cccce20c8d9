"""Answers to `distances_without_a_loop`: the starter, right ones and wrong ones."""

# %% starter
def distances(x, y):
    ...

# %% solution
def distances(x, y):
    return (x[:, None] - y).square().sum(2)  # [N, M, D] → [N, M]

# %% right: the binomial formula
def distances(x, y):
    x, y = x.double(), y.double()
    return (x**2).sum(1, keepdim=True) + (y**2).sum(1) - 2 * x @ y.T

# %% right: PyTorch's own distances, squared
import torch


def distances(x, y):
    return torch.cdist(x.double(), y.double()) ** 2

# %% right: two loops
import torch


def distances(x, y):
    return torch.tensor([[((a - b) ** 2).sum().item() for b in y] for a in x])

# %% wrong: not squared
def distances(x, y):
    return (x[:, None] - y).square().sum(2).sqrt()

# %% wrong: rows in pairs only
def distances(x, y):
    return (x - y).square().sum(1)

# %% wrong: transposed
def distances(x, y):
    return (y[:, None] - x).square().sum(2)

# %% wrong: the mean over the coordinates
def distances(x, y):
    return (x[:, None] - y).square().mean(2)

# %% wrong: summed over the points
def distances(x, y):
    return (x[:, None] - y).square().sum(1)

# %% wrong: squared after the sum
def distances(x, y):
    return (x[:, None] - y).sum(2).square()

# %% wrong: absolute differences
def distances(x, y):
    return (x[:, None] - y).abs().sum(2)

# %% wrong: overwrites x
def distances(x, y):
    return x.unsqueeze(1).sub_(y[:1]).square().sum(2).expand(-1, len(y))
