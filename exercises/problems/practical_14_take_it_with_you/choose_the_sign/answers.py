"""Answers to `choose_the_sign`: the starter, right ones and wrong ones."""

# %% starter
import torch


def scales(weight, bits):
    ...

# %% solution
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().amax(1) / half

    def error(scale):
        codes = (weight / scale[:, None]).round().clamp(-half, half - 1)
        return (weight - scale[:, None] * codes).square().sum(1)

    return torch.where(error(size) <= error(-size), size, -size)

# %% right: group by group, in double precision
import torch


def scales(weight, bits):
    half, found = 2 ** (bits - 1), []
    for group in weight.double():
        size = group.abs().max().item() / half
        errors = {}
        for s in (size, -size):
            q = torch.clamp(torch.round(group / s), -half, half - 1)
            errors[s] = ((group - s * q) ** 2).mean().item()
        found.append(min(errors, key=errors.get))
    return torch.tensor(found)

# %% right: in NumPy
import numpy as np
import torch


def scales(weight, bits):
    w, half = weight.numpy(), 2 ** (bits - 1)
    both = np.abs(w).max(1) / half * np.array([[1.0], [-1.0]])
    q = np.clip(np.rint(w / both[..., None]), -half, half - 1)
    error = ((w - both[..., None] * q) ** 2).sum(-1)
    return torch.from_numpy(np.take_along_axis(both, error.argmin(0)[None], 0)[0])

# %% wrong: always positive
import torch


def scales(weight, bits):
    return weight.abs().amax(1) / 2 ** (bits - 1)

# %% wrong: always for the largest weight
import torch


def scales(weight, bits):
    at = weight.abs().argmax(1, keepdim=True)
    return weight.gather(1, at)[:, 0] / -(2 ** (bits - 1))

# %% wrong: the larger error
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().amax(1) / half

    def error(scale):
        codes = (weight / scale[:, None]).round().clamp(-half, half - 1)
        return (weight - scale[:, None] * codes).square().sum(1)

    return torch.where(error(size) > error(-size), size, -size)

# %% wrong: the largest error instead of the squared one
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().amax(1) / half

    def error(scale):
        codes = (weight / scale[:, None]).round().clamp(-half, half - 1)
        return (weight - scale[:, None] * codes).abs().amax(1)

    return torch.where(error(size) <= error(-size), size, -size)

# %% wrong: without clipping
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().amax(1) / half

    def error(scale):
        codes = (weight / scale[:, None]).round()
        return (weight - scale[:, None] * codes).square().sum(1)

    return torch.where(error(size) <= error(-size), size, -size)

# %% wrong: one sign for all groups
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().amax(1) / half

    def error(scale):
        codes = (weight / scale[:, None]).round().clamp(-half, half - 1)
        return (weight - scale[:, None] * codes).square().sum()

    return size if error(size) <= error(-size) else -size

# %% wrong: one magnitude for all groups
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().max() / half * torch.ones(len(weight))

    def error(scale):
        codes = (weight / scale[:, None]).round().clamp(-half, half - 1)
        return (weight - scale[:, None] * codes).square().sum(1)

    return torch.where(error(size) <= error(-size), size, -size)

# %% wrong: divided by the positive side
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().amax(1) / (half - 1)

    def error(scale):
        codes = (weight / scale[:, None]).round().clamp(-half, half - 1)
        return (weight - scale[:, None] * codes).square().sum(1)

    return torch.where(error(size) <= error(-size), size, -size)

# %% wrong: the sign of the sum
import torch


def scales(weight, bits):
    size = weight.abs().amax(1) / 2 ** (bits - 1)
    return torch.where(weight.sum(1) < 0, size, -size)

# %% wrong: a column
import torch


def scales(weight, bits):
    half = 2 ** (bits - 1)
    size = weight.abs().amax(1, keepdim=True) / half

    def error(scale):
        codes = (weight / scale).round().clamp(-half, half - 1)
        return (weight - scale * codes).square().sum(1, keepdim=True)

    return torch.where(error(size) <= error(-size), size, -size)
