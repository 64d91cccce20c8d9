"""Answers to `keep_the_directions`: the starter, right ones and wrong ones."""

# %% starter
import torch


def keep(y, share):
    ...

# %% solution
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return vectors[:, :count]

# %% right: by singular values, in float64
import torch


def keep(y, share):
    s, v = torch.linalg.svd(y.double())[1:]
    held, total = 0.0, (y.double() ** 2).sum().item()
    for count, value in enumerate(s.tolist(), 1):
        held += value**2
        if held >= share * total:
            return v[:count].T.float()

# %% wrong: the mean subtracted first
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(torch.cov(y.T))  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return vectors[:, :count]

# %% wrong: the smallest directions
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return vectors[:, :count]

# %% wrong: one direction too few
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum())
    return vectors[:, :count]

# %% wrong: one direction too many
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 2
    return vectors[:, :count]

# %% wrong: strictly more than the share required
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held <= share).sum()) + 1
    return vectors[:, :count]

# %% wrong: never all directions
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return vectors[:, : min(count, len(values) - 1)]

# %% wrong: never a single direction
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return vectors[:, : max(count, 2)]

# %% wrong: shares of singular values, not of their squares
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.clamp_min(0).sqrt().cumsum(0) / values.clamp_min(0).sqrt().sum()
    count = int((held < share).sum()) + 1
    return vectors[:, :count]

# %% wrong: directions as rows
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return vectors[:, :count].T

# %% wrong: columns not normalized
import torch


def keep(y, share):
    values, vectors = torch.linalg.eigh(y.T @ y)  # the smallest first
    values, vectors = values.flip(0), vectors.flip(1)
    held = values.cumsum(0) / values.sum()
    count = int((held < share).sum()) + 1
    return (vectors * values.clamp_min(0).sqrt())[:, :count]
