"""Answers to `steer_by_a_bias`: the starter, right ones and wrong ones."""

# %% starter
import torch


def steer(bias, chosen, rate):
    ...

# %% solution
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * torch.sign(load.mean() - load), float(violation)

# %% right: expert by expert
import torch


def steer(bias, chosen, rate):
    load = [int((chosen == e).sum()) for e in range(len(bias))]
    mean = chosen.numel() / len(bias)
    steps = [rate if n < mean else -rate if n > mean else 0.0 for n in load]
    return bias + torch.tensor(steps), torch.tensor(max(load) / mean - 1)

# %% wrong: the wrong sign
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias - rate * torch.sign(load.mean() - load), float(violation)

# %% wrong: step proportional to the gap
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * (load.mean() - load), float(violation)

# %% wrong: step proportional to the load share
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * (load.mean() - load) / load.sum(), float(violation)

# %% wrong: the ratio without subtracting 1
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean()
    return bias + rate * torch.sign(load.mean() - load), float(violation)

# %% wrong: the largest deviation
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = (load - load.mean()).abs().max() / load.mean()
    return bias + rate * torch.sign(load.mean() - load), float(violation)

# %% wrong: largest minus smallest load
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = (load.max() - load.min()) / load.mean()
    return bias + rate * torch.sign(load.mean() - load), float(violation)

# %% wrong: unused experts left out
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    load = load.where(load > 0, load[load > 0].mean())
    violation = load.max() / load.mean() - 1
    return bias + rate * torch.sign(load.mean() - load), float(violation)

# %% wrong: an expert at the mean goes down
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * ((load < load.mean()) * 2.0 - 1), float(violation)

# %% wrong: the mean rounded down
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * torch.sign(load.sum() // len(bias) - load), float(violation)

# %% wrong: in place
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    bias += rate * torch.sign(load.mean() - load)
    return bias, float(violation)

# %% wrong: the median
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * torch.sign(load.median() - load), float(violation)

# %% wrong: the mean load of one expert per token
import torch


def steer(bias, chosen, rate):
    load = chosen.flatten().bincount(minlength=len(bias)).float()
    mean = len(chosen) / len(bias)
    return bias + rate * torch.sign(mean - load), float(load.max() / mean - 1)

# %% wrong: only the first expert of each token
import torch


def steer(bias, chosen, rate):
    load = chosen[:, 0].bincount(minlength=len(bias)).float()
    violation = load.max() / load.mean() - 1
    return bias + rate * torch.sign(load.mean() - load), float(violation)
