"""Answers to `chart_of_the_share`: the starter, right ones and wrong ones."""

# %% starter
def chart(unwanted, share, ratio):
    ...

# %% solution
import math


def chart(unwanted, share, ratio):
    odds = ratio * share / (1 - share)
    other = odds / (1 + odds)
    total, sums = 0.0, []
    for bad in unwanted:
        fit = math.log(other / share) if bad else math.log((1 - other) / (1 - share))
        total = max(0.0, total + fit)
        sums.append(total)
    return sums

# %% right: without a loop
import numpy as np


def chart(unwanted, share, ratio):
    other = ratio * share / (1 - share + ratio * share)
    x = np.asarray(unwanted, float)
    steps = x * np.log(other / share) + (1 - x) * np.log((1 - other) / (1 - share))
    sums = np.cumsum(steps)
    return sums - np.minimum(0, np.minimum.accumulate(sums))

# %% right: accumulate
from itertools import accumulate

import torch


def chart(unwanted, share, ratio):
    p = torch.tensor(share, dtype=torch.float64)
    q = torch.sigmoid(torch.logit(p) + torch.log(torch.tensor(float(ratio))))
    steps = [torch.log(q / p) if x else torch.log((1 - q) / (1 - p)) for x in unwanted]
    sums = accumulate(steps, lambda s, step: max(s + step, torch.zeros(())), initial=0)
    return torch.tensor([float(each) for each in sums][1:])

# %% wrong: below zero
import numpy as np


def chart(unwanted, share, ratio):
    odds = ratio * share / (1 - share)
    q = odds / (1 + odds)
    x = np.asarray(unwanted, float)
    return np.cumsum(x * np.log(q / share) + (1 - x) * np.log((1 - q) / (1 - share)))

# %% wrong: the share is multiplied
import math


def chart(unwanted, share, ratio):
    other = min(ratio * share, 0.999)
    total, sums = 0.0, []
    for bad in unwanted:
        fit = math.log(other / share) if bad else math.log((1 - other) / (1 - share))
        total = max(0.0, total + fit)
        sums.append(total)
    return sums

# %% wrong: the other way round
import math


def chart(unwanted, share, ratio):
    odds = ratio * share / (1 - share)
    other = odds / (1 + odds)
    total, sums = 0.0, []
    for bad in unwanted:
        fit = math.log(share / other) if bad else math.log((1 - share) / (1 - other))
        total = max(0.0, total + fit)
        sums.append(total)
    return sums

# %% wrong: only unwanted mails count
import math


def chart(unwanted, share, ratio):
    odds = ratio * share / (1 - share)
    other = odds / (1 + odds)
    total, sums = 0.0, []
    for bad in unwanted:
        total += math.log(other / share) if bad else 0.0
        total = max(0.0, total)
        sums.append(total)
    return sums

# %% wrong: back to zero
import math


def chart(unwanted, share, ratio):
    odds = ratio * share / (1 - share)
    other = odds / (1 + odds)
    total, sums = 0.0, []
    for bad in unwanted:
        total += math.log(other / share) if bad else math.log((1 - other) / (1 - share))
        sums.append(max(0.0, total))
    return sums

# %% wrong: it starts with zero
import math


def chart(unwanted, share, ratio):
    odds = ratio * share / (1 - share)
    other = odds / (1 + odds)
    sums = [0.0]
    for bad in unwanted:
        fit = math.log(other / share) if bad else math.log((1 - other) / (1 - share))
        sums.append(max(0.0, sums[-1] + fit))
    return sums[:-1]
