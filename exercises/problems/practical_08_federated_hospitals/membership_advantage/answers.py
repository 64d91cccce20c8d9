"""Answers to `membership_advantage`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def advantage(members, others):
    ...

# %% solution
import numpy as np


def advantage(members, others):
    best = 0.0
    for t in np.concatenate([members, others]):
        best = max(best, (members <= t).mean() - (others <= t).mean())
    return best

# %% right: sorted
import numpy as np


def advantage(members, others):
    grid = np.unique(np.concatenate([members, others]))
    a = np.searchsorted(np.sort(members), grid, side="right") / len(members)
    b = np.searchsorted(np.sort(others), grid, side="right") / len(others)
    return max(0.0, float((a - b).max()))

# %% right: scipy
from scipy.stats import ks_2samp


def advantage(members, others):
    return ks_2samp(members, others, alternative="greater", method="asymp").statistic

# %% right: in torch
import torch


def advantage(members, others):
    a, b = torch.as_tensor(members), torch.as_tensor(others)
    t = torch.cat([a, b])[:, None]
    gains = (a <= t).double().mean(1) - (b <= t).double().mean(1)
    return gains.max().clamp(min=0)

# %% right: below the threshold, which comes to the same
import numpy as np


def advantage(members, others):
    best = 0.0
    for t in np.concatenate([members, others]):
        best = max(best, (members < t).mean() - (others < t).mean())
    return best

# %% wrong: members have higher losses
import numpy as np


def advantage(members, others):
    best = 0.0
    for t in np.concatenate([members, others]):
        best = max(best, (members >= t).mean() - (others >= t).mean())
    return best

# %% wrong: either direction
from scipy.stats import ks_2samp


def advantage(members, others):
    return ks_2samp(members, others, method="asymp").statistic

# %% wrong: the accuracy
import numpy as np


def advantage(members, others):
    best = 0.5
    for t in np.concatenate([members, others]):
        best = max(best, ((members <= t).mean() + (others > t).mean()) / 2)
    return best

# %% wrong: counts, not rates
import numpy as np


def advantage(members, others):
    total, best = len(members) + len(others), 0.0
    for t in np.concatenate([members, others]):
        best = max(best, ((members <= t).sum() - (others <= t).sum()) / total)
    return best

# %% wrong: the mean loss as the threshold
def advantage(members, others):
    t = members.mean()
    return max(0.0, (members <= t).mean() - (others <= t).mean())
