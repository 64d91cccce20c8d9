"""Answers to `evidence_of_words`: the starter, right ones and wrong ones."""

# %% starter
def evidence(counts, labels, alpha=1.0):
    ...

# %% solution
import numpy as np


def evidence(counts, labels, alpha=1.0):
    p = alpha + counts[labels == 1].sum(0)
    q = alpha + counts[labels == 0].sum(0)
    return np.log((p / p.sum()) / (q / q.sum()))

# %% right: with a matrix product
import numpy as np


def evidence(counts, labels, alpha=1.0):
    y = np.stack([1 - labels, labels])
    total = y @ counts + alpha
    log = np.log(total) - np.log(total.sum(axis=1, keepdims=True))
    return log[1] - log[0]

# %% right: scikit-learn
from sklearn.naive_bayes import MultinomialNB


def evidence(counts, labels, alpha=1.0):
    model = MultinomialNB(alpha=alpha).fit(counts, labels)
    return model.feature_log_prob_[1] - model.feature_log_prob_[0]

# %% right: lists
import math


def evidence(counts, labels, alpha=1.0):
    words = range(len(counts[0]))
    sums = [
        [alpha + sum(row[j] for row, y in zip(counts, labels) if y == side) for j in words]
        for side in (0, 1)
    ]
    q, p = sums
    return [math.log(p[j] / sum(p)) - math.log(q[j] / sum(q)) for j in words]

# %% wrong: the sign
import numpy as np


def evidence(counts, labels, alpha=1.0):
    p = alpha + counts[labels == 1].sum(0)
    q = alpha + counts[labels == 0].sum(0)
    return np.log((q / q.sum()) / (p / p.sum()))

# %% wrong: no alpha in the denominator
import numpy as np


def evidence(counts, labels, alpha=1.0):
    p = counts[labels == 1].sum(0)
    q = counts[labels == 0].sum(0)
    return np.log(((alpha + p) / p.sum()) / ((alpha + q) / q.sum()))

# %% wrong: alpha is ignored
import numpy as np


def evidence(counts, labels, alpha=1.0):
    p = 1 + counts[labels == 1].sum(0)
    q = 1 + counts[labels == 0].sum(0)
    return np.log((p / p.sum()) / (q / q.sum()))

# %% wrong: presence
import numpy as np


def evidence(counts, labels, alpha=1.0):
    counts = (counts > 0).astype(int)
    p = alpha + counts[labels == 1].sum(0)
    q = alpha + counts[labels == 0].sum(0)
    return np.log((p / p.sum()) / (q / q.sum()))

# %% wrong: divided by reviews
import numpy as np


def evidence(counts, labels, alpha=1.0):
    p = (alpha + counts[labels == 1].sum(0)) / (alpha + (labels == 1).sum())
    q = (alpha + counts[labels == 0].sum(0)) / (alpha + (labels == 0).sum())
    return np.log(p / q)

# %% wrong: no logarithm
def evidence(counts, labels, alpha=1.0):
    p = alpha + counts[labels == 1].sum(0)
    q = alpha + counts[labels == 0].sum(0)
    return (p / p.sum()) / (q / q.sum())
