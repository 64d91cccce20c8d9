"""Answers to `set_the_border`: the starter, right ones and wrong ones."""

# %% starter
def border(scores, labels, lost):
    ...

# %% solution
import numpy as np


def border(scores, labels, lost):
    wanted = np.sort(scores[labels == 0])[::-1]
    return wanted[int(lost * len(wanted))]

# %% right: partition
import numpy as np


def border(scores, labels, lost):
    wanted = scores[labels == 0]
    count = len(wanted) - 1 - int(lost * len(wanted))
    return np.partition(wanted, count)[count]

# %% right: lists
def border(scores, labels, lost):
    wanted = sorted((s for s, y in zip(scores, labels) if y == 0), reverse=True)
    return float(wanted[int(len(wanted) * lost)])

# %% right: pandas, one by one
import pandas as pd


def border(scores, labels, lost):
    wanted = pd.Series(scores)[pd.Series(labels) == 0].sort_values()
    for value in wanted:
        if (wanted > value).sum() <= lost * len(wanted):
            return value

# %% right: torch
import torch


def border(scores, labels, lost):
    wanted = torch.as_tensor(scores)[torch.as_tensor(labels) == 0]
    return wanted.topk(int(lost * len(wanted)) + 1).values[-1]

# %% wrong: all mails
import numpy as np


def border(scores, labels, lost):
    ordered = np.sort(scores)[::-1]
    return ordered[int(lost * len(ordered))]

# %% wrong: the unwanted mails
import numpy as np


def border(scores, labels, lost):
    other = np.sort(scores[labels == 1])[::-1]
    return other[int(lost * len(other))]

# %% wrong: from below
import numpy as np


def border(scores, labels, lost):
    wanted = np.sort(scores[labels == 0])
    return wanted[int(lost * len(wanted))]

# %% wrong: one mail too many is lost
import numpy as np


def border(scores, labels, lost):
    wanted = np.sort(scores[labels == 0])[::-1]
    return wanted[int(lost * len(wanted)) + 1]

# %% wrong: one mail too few
import numpy as np


def border(scores, labels, lost):
    wanted = np.sort(scores[labels == 0])[::-1]
    return wanted[max(0, int(lost * len(wanted)) - 1)]

# %% wrong: rounded
import numpy as np


def border(scores, labels, lost):
    wanted = np.sort(scores[labels == 0])[::-1]
    return wanted[round(lost * len(wanted))]

# %% wrong: a quantile between two scores
import numpy as np


def border(scores, labels, lost):
    return np.quantile(scores[labels == 0], 1 - lost)

# %% wrong: percent
import numpy as np


def border(scores, labels, lost):
    wanted = np.sort(scores[labels == 0])[::-1]
    return wanted[int(lost / 100 * len(wanted))]
