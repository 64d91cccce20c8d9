"""Answers to `split_by_module`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def split_by_module(module, fraction, seed):
    ...

# %% solution
import numpy as np


def split_by_module(module, fraction, seed):
    names, sizes = np.unique(module, return_counts=True)
    target, count, chosen = fraction * len(module), 0, []
    for i in np.random.default_rng(seed).permutation(len(names)):
        if abs(count + sizes[i] - target) >= abs(count - target):
            break
        chosen.append(names[i])
        count += sizes[i]
    return np.isin(module, chosen)

# %% right: the best place to stop, from cumulative sizes, as a list
import random
from collections import Counter


def split_by_module(module, fraction, seed):
    sizes = Counter(module.tolist())
    names = sorted(sizes)
    random.Random(seed).shuffle(names)
    counts = [0]
    for name in names:
        counts.append(counts[-1] + sizes[name])
    target = fraction * len(module)
    stop = min(range(len(counts)), key=lambda i: abs(counts[i] - target))
    test = set(names[:stop])
    return [name in test for name in module.tolist()]

# %% right: draws again until the size fits, as a tensor
import numpy as np
import torch


def split_by_module(module, fraction, seed):
    rng = np.random.default_rng(seed)
    names, where, sizes = np.unique(module, return_inverse=True, return_counts=True)
    while True:
        test = rng.random(len(names)) < fraction
        if abs(sizes[test].sum() - fraction * len(module)) <= sizes.max() / 2:
            return torch.from_numpy(test[where])

# %% wrong: draws cells, not modules
import numpy as np


def split_by_module(module, fraction, seed):
    test = np.zeros(len(module), dtype=bool)
    order = np.random.default_rng(seed).permutation(len(module))
    test[order[: round(fraction * len(module))]] = True
    return test

# %% wrong: a fraction of the modules, not of the cells
import numpy as np


def split_by_module(module, fraction, seed):
    names = np.random.default_rng(seed).permutation(np.unique(module))
    return np.isin(module, names[: round(fraction * len(names))])

# %% wrong: adds modules until the size is reached
import numpy as np


def split_by_module(module, fraction, seed):
    test = np.zeros(len(module), dtype=bool)
    for name in np.random.default_rng(seed).permutation(np.unique(module)):
        if test.sum() >= fraction * len(module):
            break
        test |= module == name
    return test

# %% wrong: stops before the size is exceeded
import numpy as np


def split_by_module(module, fraction, seed):
    test = np.zeros(len(module), dtype=bool)
    for name in np.random.default_rng(seed).permutation(np.unique(module)):
        larger = test | (module == name)
        if larger.sum() > fraction * len(module):
            break
        test = larger
    return test

# %% wrong: cuts the last module to reach the exact size
import numpy as np


def split_by_module(module, fraction, seed):
    names = np.random.default_rng(seed).permutation(np.unique(module))
    place = {name: i for i, name in enumerate(names)}
    order = np.argsort([place[name] for name in module], kind="stable")
    test = np.zeros(len(module), dtype=bool)
    test[order[: round(fraction * len(module))]] = True
    return test

# %% wrong: takes the modules in their order
import numpy as np


def split_by_module(module, fraction, seed):
    names, sizes = np.unique(module, return_counts=True)
    counts = np.append(0, np.cumsum(sizes))
    stop = np.abs(counts - fraction * len(module)).argmin()
    return np.isin(module, names[:stop])

# %% wrong: ignores the seed
import numpy as np


def split_by_module(module, fraction, seed):
    names, sizes = np.unique(module, return_counts=True)
    order = np.random.default_rng().permutation(len(names))
    counts = np.append(0, np.cumsum(sizes[order]))
    stop = np.abs(counts - fraction * len(module)).argmin()
    return np.isin(module, names[order[:stop]])

# %% wrong: takes each run of equal values for a module
import numpy as np


def split_by_module(module, fraction, seed):
    run = np.cumsum(np.append(True, module[1:] != module[:-1]))
    names, sizes = np.unique(run, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    counts = np.append(0, np.cumsum(sizes[order]))
    stop = np.abs(counts - fraction * len(module)).argmin()
    return np.isin(run, names[order[:stop]])

# %% wrong: the training set instead of the test set
import numpy as np


def split_by_module(module, fraction, seed):
    names, sizes = np.unique(module, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(names))
    counts = np.append(0, np.cumsum(sizes[order]))
    stop = np.abs(counts - fraction * len(module)).argmin()
    return ~np.isin(module, names[order[:stop]])

# %% wrong: neighbors go together, from a random start
import numpy as np


def split_by_module(module, fraction, seed):
    names, sizes = np.unique(module, return_counts=True)
    target, count, chosen = fraction * len(module), 0, []
    first = int(np.random.default_rng(seed).integers(len(names)))
    for i in np.roll(np.arange(len(names)), first):
        if abs(count + sizes[i] - target) >= abs(count - target):
            break
        chosen.append(names[i])
        count += sizes[i]
    return np.isin(module, chosen)
