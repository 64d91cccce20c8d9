"""Answers to `mend_the_groups`: the starter, right ones and wrong ones."""

# %% starter
import torch


def split_neurons(frequency, high, low):
    ...

# %% solution
import torch


def split_neurons(frequency, high, low):
    core = (frequency > high).nonzero()[:, 0]
    low_ones = (frequency < low).nonzero()[:, 0]
    between = (low <= frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones

# %% right: neuron by neuron, in a list
import torch


def split_neurons(frequency, high, low):
    groups = [[], [], []]
    for neuron, value in enumerate(frequency.tolist()):
        groups[0 if value > high else 2 if value < low else 1].append(neuron)
    return [torch.tensor(group[::-1], dtype=torch.int64) for group in groups]

# %% right: slices of the sorted order
import torch


def split_neurons(frequency, high, low):
    values, order = frequency.sort()
    start = torch.searchsorted(values, torch.tensor(low, dtype=torch.float64))
    end = torch.searchsorted(values, torch.tensor(high, dtype=torch.float64), right=True)
    return order[end:], order[start:end], order[:start]

# %% wrong: frequencies instead of indices
import torch


def split_neurons(frequency, high, low):
    between = (low <= frequency) & (frequency <= high)
    return frequency[frequency > high], frequency[between], frequency[frequency < low]

# %% wrong: masks instead of indices
import torch


def split_neurons(frequency, high, low):
    between = (low <= frequency) & (frequency <= high)
    return frequency > high, between, frequency < low

# %% wrong: the chained comparison
import torch


def split_neurons(frequency, high, low):
    core = (frequency > high).nonzero()[:, 0]
    low_ones = (frequency < low).nonzero()[:, 0]
    return core, (low <= frequency <= high).nonzero()[:, 0], low_ones

# %% wrong: boundary values in no group
import torch


def split_neurons(frequency, high, low):
    core = (frequency > high).nonzero()[:, 0]
    low_ones = (frequency < low).nonzero()[:, 0]
    between = (low < frequency) & (frequency < high)
    return core, between.nonzero()[:, 0], low_ones

# %% wrong: boundary values in two groups
import torch


def split_neurons(frequency, high, low):
    core = (frequency >= high).nonzero()[:, 0]
    low_ones = (frequency < low).nonzero()[:, 0]
    between = (low <= frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones

# %% wrong: the upper boundary in core
import torch


def split_neurons(frequency, high, low):
    core = (frequency >= high).nonzero()[:, 0]
    low_ones = (frequency < low).nonzero()[:, 0]
    between = (low <= frequency) & (frequency < high)
    return core, between.nonzero()[:, 0], low_ones

# %% wrong: the lower boundary in low
import torch


def split_neurons(frequency, high, low):
    core = (frequency > high).nonzero()[:, 0]
    low_ones = (frequency <= low).nonzero()[:, 0]
    between = (low < frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones

# %% wrong: in float32
import torch


def split_neurons(frequency, high, low):
    frequency = frequency.float()
    core = (frequency > high).nonzero()[:, 0]
    low_ones = (frequency < low).nonzero()[:, 0]
    between = (low <= frequency) & (frequency <= high)
    return core, between.nonzero()[:, 0], low_ones

# %% wrong: indices in int32
import torch


def split_neurons(frequency, high, low):
    core = (frequency > high).nonzero()[:, 0]
    low_ones = (frequency < low).nonzero()[:, 0]
    between = (low <= frequency) & (frequency <= high)
    return core.int(), between.nonzero()[:, 0].int(), low_ones.int()

# %% wrong: two axes
import torch


def split_neurons(frequency, high, low):
    between = (low <= frequency) & (frequency <= high)
    return (frequency > high).nonzero(), between.nonzero(), (frequency < low).nonzero()

# %% wrong: a single index squeezed to a scalar
import torch


def split_neurons(frequency, high, low):
    between = (low <= frequency) & (frequency <= high)
    masks = frequency > high, between, frequency < low
    return [mask.nonzero().squeeze() for mask in masks]

# %% wrong: sorted in place
import torch


def split_neurons(frequency, high, low):
    order = frequency.argsort()
    frequency.copy_(frequency[order])
    between = (low <= frequency) & (frequency <= high)
    masks = frequency > high, between, frequency < low
    return [order[mask] for mask in masks]
