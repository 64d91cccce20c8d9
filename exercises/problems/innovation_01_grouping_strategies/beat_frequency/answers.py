"""Answers to `beat_frequency`: the starter, right ones and wrong ones."""

# %% starter
import torch



def criterion(layer):
    ...

# %% wrong: frequency
import torch



def criterion(layer):
    return layer.statistics.frequency

# %% wrong: least active first
import torch



def criterion(layer):
    return 1 - layer.statistics.frequency

# %% wrong: random
import torch



def criterion(layer):
    return torch.rand(len(layer.weight))

# %% wrong: constant
import torch



def criterion(layer):
    return torch.ones(len(layer.weight))

# %% wrong: magnitude
import torch



def criterion(layer):
    return layer.weight.square().mean(1)

# %% wrong: the error without the gradient
import torch



def criterion(layer):
    return layer.errors

# %% wrong: the error divided by the gradient
import torch



def criterion(layer):
    return layer.errors / (layer.statistics.gradient + 1e-9)

# %% wrong: returns a list
import torch



def criterion(layer):
    return layer.statistics.frequency.tolist()

# %% wrong: one value for the whole layer
import torch



def criterion(layer):
    return layer.statistics.gradient.sum()

# %% wrong: not a number
import torch



def criterion(layer):
    return (-layer.statistics.gradient).sqrt()
