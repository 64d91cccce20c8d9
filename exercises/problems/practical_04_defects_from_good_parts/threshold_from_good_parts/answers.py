"""Answers to `threshold_from_good_parts`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def threshold(scores, rate):
    ...

# %% solution
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    k = math.ceil((n + 1) * (1 - rate))
    return np.sort(scores)[k - 1] if k <= n else None

# %% right: by trying each rank
def threshold(scores, rate):
    n = len(scores)
    for k, score in enumerate(sorted(scores), 1):
        if (n + 1 - k) / (n + 1) <= rate:
            return score
    return None

# %% right: counts the alarms that are allowed
import numpy as np


def threshold(scores, rate):
    above = int((len(scores) + 1) * rate)
    return float(np.sort(scores)[-above]) if above else None

# %% right: a quantile of the scores and infinity
import numpy as np


def threshold(scores, rate):
    scores = np.append(scores, np.inf)
    value = np.quantile(scores, 1 - rate, method="inverted_cdf")
    return value if np.isfinite(value) else None

# %% right: the probability as one minus a fraction
import numpy as np


def threshold(scores, rate):
    ordered = np.sort(scores)
    for k in range(1, len(ordered) + 1):
        if 1 - k / (len(ordered) + 1) <= rate:
            return ordered[k - 1]

# %% right: by adding up gaps
def threshold(scores, rate):
    n = len(scores)
    gap, k = 1 / (n + 1), 1
    while k <= n and (n + 1 - k) * gap > rate:
        k += 1
    return sorted(scores)[k - 1] if k <= n else None

# %% right: in float32
import math

import torch


def threshold(scores, rate):
    n = len(scores)
    k = math.ceil((n + 1) * (1 - rate))
    ordered = torch.from_numpy(scores).float().sort().values
    return ordered[k - 1] if k <= n else None

# %% wrong: an interpolated quantile
import numpy as np


def threshold(scores, rate):
    return np.quantile(scores, 1 - rate)

# %% wrong: the higher quantile
import numpy as np


def threshold(scores, rate):
    return np.quantile(scores, 1 - rate, method="higher")

# %% wrong: n ranks instead of n + 1
import math

import numpy as np


def threshold(scores, rate):
    k = math.ceil(len(scores) * (1 - rate))
    return np.sort(scores)[k - 1]

# %% wrong: n ranks, but None if there are too few
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    if 1 / (n + 1) > rate:
        return None
    return np.sort(scores)[math.ceil(n * (1 - rate)) - 1]

# %% wrong: k as an index
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    k = math.ceil((n + 1) * (1 - rate))
    return np.sort(scores)[k] if k < n else None

# %% wrong: one rank too low
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    k = math.ceil((n + 1) * (1 - rate))
    return np.sort(scores)[k - 2] if k <= n else None

# %% wrong: rounds down
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    k = max(1, math.floor((n + 1) * (1 - rate)))
    return np.sort(scores)[k - 1] if k <= n else None

# %% wrong: the largest score if there are too few
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    k = min(math.ceil((n + 1) * (1 - rate)), n)
    return np.sort(scores)[k - 1]

# %% wrong: one score more than needed
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    k = math.ceil((n + 1) * (1 - rate))
    return np.sort(scores)[k - 1] if k < n else None

# %% wrong: not sorted
import math


def threshold(scores, rate):
    n = len(scores)
    k = math.ceil((n + 1) * (1 - rate))
    return scores[k - 1] if k <= n else None

# %% wrong: sorted in place
import math


def threshold(scores, rate):
    n = len(scores)
    k = math.ceil((n + 1) * (1 - rate))
    scores.sort()
    return scores[k - 1] if k <= n else None

# %% wrong: the rate is below
import math

import numpy as np


def threshold(scores, rate):
    n = len(scores)
    return np.sort(scores)[math.ceil((n + 1) * rate) - 1]

# %% wrong: the largest score
def threshold(scores, rate):
    return max(scores) if 1 / (len(scores) + 1) <= rate else None

# %% wrong: as for a bell curve
from statistics import NormalDist

import numpy as np


def threshold(scores, rate):
    return np.mean(scores) + NormalDist().inv_cdf(1 - rate) * np.std(scores)
