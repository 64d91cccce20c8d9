"""Answers to `how_slow_at_worst`: the starter, right ones and wrong ones."""

# %% starter
import math


def percentile(ms, part):
    ...

# %% solution
import math


def percentile(ms, part):
    return sorted(ms)[math.ceil(part * len(ms)) - 1]

# %% right: by counting
def percentile(ms, part):
    for value in sorted(ms):
        if sum(other <= value for other in ms) / len(ms) >= part:
            return value

# %% right: in NumPy
import numpy as np


def percentile(ms, part):
    return np.quantile(ms, part, method="inverted_cdf")

# %% wrong: rounds down
def percentile(ms, part):
    return sorted(ms)[max(int(part * len(ms)) - 1, 0)]

# %% wrong: rank one too high
def percentile(ms, part):
    return sorted(ms)[min(int(part * len(ms)), len(ms) - 1)]

# %% wrong: three hard-coded parts, otherwise the slowest
import math


def percentile(ms, part):
    part = part if part in (0.5, 0.9, 0.99) else 1.0
    return sorted(ms)[math.ceil(part * len(ms)) - 1]

# %% wrong: interpolates
import numpy as np


def percentile(ms, part):
    return float(np.percentile(ms, 100 * part))

# %% wrong: sorts the learner's list
import math


def percentile(ms, part):
    ms.sort()
    return ms[math.ceil(part * len(ms)) - 1]

# %% wrong: in run order, unsorted
import math


def percentile(ms, part):
    return ms[math.ceil(part * len(ms)) - 1]
