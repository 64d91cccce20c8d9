"""Answers to `threshold_for_recall`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def threshold_for_recall(probability, label, recall):
    ...

# %% solution
import numpy as np


def threshold_for_recall(probability, label, recall):
    positive = np.sort(probability[label == 1])[::-1]
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return positive[needed - 1]

# %% right: tries every score
import numpy as np


def threshold_for_recall(probability, label, recall):
    found = probability[label == 1]
    return max(t for t in probability if (found >= t).mean() >= recall)

# %% right: PyTorch in float32
import math

import torch
import numpy as np


def threshold_for_recall(probability, label, recall):
    p = torch.tensor(probability, dtype=torch.float32)
    p = p[torch.tensor(label == 1)].sort(descending=True).values
    return p[math.ceil(recall * len(p)) - 1]

# %% wrong: one half, by habit
import numpy as np


def threshold_for_recall(probability, label, recall):
    return 0.5

# %% wrong: an interpolated quantile
import numpy as np


def threshold_for_recall(probability, label, recall):
    return np.quantile(probability[label == 1], 1 - recall)

# %% wrong: all cells instead of the defective ones
import numpy as np


def threshold_for_recall(probability, label, recall):
    positive = np.sort(probability)[::-1]
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return positive[needed - 1]

# %% wrong: allowed misses rounded down without tolerance
import numpy as np


def threshold_for_recall(probability, label, recall):
    missed = int((1 - recall) * label.sum())
    return np.sort(probability[label == 1])[missed]

# %% wrong: the lowest threshold
import numpy as np


def threshold_for_recall(probability, label, recall):
    return probability[label == 1].min()

# %% wrong: a little below the score
import numpy as np


def threshold_for_recall(probability, label, recall):
    positive = np.sort(probability[label == 1])[::-1]
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return positive[needed - 1] - 1e-10

# %% wrong: strictly above the recall
import numpy as np


def threshold_for_recall(probability, label, recall):
    positive = np.sort(probability[label == 1])[::-1]
    needed = int(min(recall * len(positive) + 1 + 1e-9, len(positive)))
    return positive[needed - 1]

# %% wrong: strictly above the threshold
import numpy as np


def threshold_for_recall(probability, label, recall):
    positive = np.sort(probability[label == 1])[::-1]
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return positive[min(needed, len(positive) - 1)]

# %% wrong: equal scores counted once
import numpy as np


def threshold_for_recall(probability, label, recall):
    positive = np.unique(probability[label == 1])[::-1]
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return positive[needed - 1]

# %% wrong: overwrites the scores of sound cells
import numpy as np


def threshold_for_recall(probability, label, recall):
    probability[label != 1] = -1
    positive = np.sort(probability[label == 1])[::-1]
    needed = int(np.ceil(recall * len(positive) - 1e-9))
    return positive[needed - 1]
