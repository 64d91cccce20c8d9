"""Answers to `scale_without_leaking`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def scale(train, test):
    ...

# %% solution
import numpy as np


def scale(train, test):
    mean, spread = train.mean(0), train.std(0)  # [D] each
    spread = np.where(spread == 0, 1, spread)
    return (train - mean) / spread, (test - mean) / spread

# %% right: scikit-learn's scaler
from sklearn.preprocessing import StandardScaler


def scale(train, test):
    scaler = StandardScaler().fit(train)
    return scaler.transform(train), scaler.transform(test)

# %% right: in PyTorch, constant columns by their range
import torch


def scale(train, test):
    train, test = torch.from_numpy(train), torch.from_numpy(test)
    spread = train.std(0, unbiased=False)
    spread[train.amax(0) == train.amin(0)] = 1.0
    return [(part - train.mean(0)) / spread for part in (train, test)]

# %% wrong: the statistics of both sets
import numpy as np


def scale(train, test):
    both = np.concatenate([train, test])
    mean, spread = both.mean(0), both.std(0)
    spread = np.where(spread == 0, 1, spread)
    return (train - mean) / spread, (test - mean) / spread

# %% wrong: each set by its own statistics
import numpy as np


def scale(train, test):
    def own(part):
        spread = part.std(0)
        return (part - part.mean(0)) / np.where(spread == 0, 1, spread)

    return own(train), own(test)

# %% wrong: divides by zero
import numpy as np


def scale(train, test):
    mean, spread = train.mean(0), train.std(0)
    with np.errstate(all="ignore"):
        return (train - mean) / spread, (test - mean) / spread

# %% wrong: one number for all columns
def scale(train, test):
    mean, spread = train.mean(), train.std()
    return (train - mean) / spread, (test - mean) / spread

# %% wrong: row by row
import numpy as np


def scale(train, test):
    def rows(part):
        spread = part.std(1, keepdims=True)
        return (part - part.mean(1, keepdims=True)) / np.where(spread == 0, 1, spread)

    return rows(train), rows(test)

# %% wrong: by the variance
import numpy as np


def scale(train, test):
    mean, spread = train.mean(0), train.var(0)
    spread = np.where(spread == 0, 1, spread)
    return (train - mean) / spread, (test - mean) / spread

# %% wrong: the test set left as it is
import numpy as np


def scale(train, test):
    mean, spread = train.mean(0), train.std(0)
    spread = np.where(spread == 0, 1, spread)
    return (train - mean) / spread, test

# %% wrong: overwrites its input
import numpy as np


def scale(train, test):
    mean, spread = train.mean(0), train.std(0)
    spread = np.where(spread == 0, 1, spread)
    train -= mean
    return train / spread, (test - mean) / spread
