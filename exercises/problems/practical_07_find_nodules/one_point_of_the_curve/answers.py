"""Answers to `one_point_of_the_curve`: the starter, right ones and wrong ones."""

# %% starter
def sensitivity(scores, hits, nodules, scans, rate):
    ...

# %% solution
def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in scores:
        reported = scores >= t
        if (reported & ~hits).sum() <= rate * scans:
            best = max(best, (reported & hits).sum())
    return best / nodules

# %% right: sorted, and the last of equal scores
import numpy as np


def sensitivity(scores, hits, nodules, scans, rate):
    order = np.argsort(-scores)
    s, h = scores[order], hits[order]
    last = np.append(s[1:] != s[:-1], True)[: len(s)]
    found, false = np.cumsum(h)[last], np.cumsum(~h)[last]
    allowed = found[false <= rate * scans]
    return allowed[-1] / nodules if len(allowed) else 0.0

# %% right: from the false marks' scores
import numpy as np


def sensitivity(scores, hits, nodules, scans, rate):
    false = np.sort(scores[~hits])[::-1]
    allowed = int(np.floor(rate * scans))
    limit = false[allowed] if len(false) > allowed else -np.inf
    return float((scores[hits] > limit).sum() / nodules)

# %% right: in torch
import torch


def sensitivity(scores, hits, nodules, scans, rate):
    s, h = torch.as_tensor(scores), torch.as_tensor(hits)
    reported = s[None] >= s[:, None]
    allowed = (reported & ~h).sum(1) <= rate * scans
    found = (reported & h).sum(1)[allowed]
    return (found.max() if len(found) else torch.tensor(0)) / nodules

# %% wrong: the rate for all scans together
def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in scores:
        reported = scores >= t
        if (reported & ~hits).sum() <= rate:
            best = max(best, (reported & hits).sum())
    return best / nodules

# %% wrong: a grid of thresholds
import numpy as np


def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in np.linspace(0, 1, 1001):
        reported = scores >= t
        if (reported & ~hits).sum() <= rate * scans:
            best = max(best, (reported & hits).sum())
    return best / nodules

# %% wrong: a rounded number of false marks
def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in scores:
        reported = scores >= t
        if (reported & ~hits).sum() <= round(rate * scans):
            best = max(best, (reported & hits).sum())
    return best / nodules

# %% wrong: fewer than the rate
def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in scores:
        reported = scores >= t
        if (reported & ~hits).sum() < rate * scans:
            best = max(best, (reported & hits).sum())
    return best / nodules

# %% wrong: of the nodules with a mark
def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in scores:
        reported = scores >= t
        if (reported & ~hits).sum() <= rate * scans:
            best = max(best, (reported & hits).sum())
    return best / max(1, hits.sum())

# %% wrong: the precision
def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in sorted(scores, reverse=True):
        reported = scores >= t
        if (reported & ~hits).sum() <= rate * scans:
            best = (reported & hits).sum() / reported.sum()
    return best

# %% wrong: one mark at a time
import numpy as np


def sensitivity(scores, hits, nodules, scans, rate):
    h = hits[np.argsort(-scores, kind="stable")]
    found = np.cumsum(h)[np.cumsum(~h) <= rate * scans]
    return found[-1] / nodules if len(found) else 0.0

# %% wrong: all marks
def sensitivity(scores, hits, nodules, scans, rate):
    return hits.sum() / nodules

# %% wrong: scores above the threshold only
def sensitivity(scores, hits, nodules, scans, rate):
    best = 0
    for t in scores:
        reported = scores > t
        if (reported & ~hits).sum() <= rate * scans:
            best = max(best, (reported & hits).sum())
    return best / nodules
