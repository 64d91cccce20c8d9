"""Answers to `same_answers`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def difference(answer, stored):
    ...

# %% solution
import numpy as np


def difference(answer, stored):
    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return apart / max(largest, 1e-12)

# %% right: element by element
import math


def difference(answer, stored):
    if answer.shape != stored.shape:
        return math.inf
    largest, apart = 1e-12, 0.0
    for y, r in zip(answer.ravel().tolist(), stored.ravel().tolist()):
        if math.isfinite(r):
            largest = max(largest, abs(r))
        if y == r or (math.isnan(y) and math.isnan(r)):
            continue
        gap = abs(y - r)
        apart = math.inf if math.isnan(gap) else max(apart, gap)
    return apart / largest

# %% wrong: NaN passes
import numpy as np


def difference(answer, stored):
    if answer.shape != stored.shape:
        return float('inf')
    return float(np.nanmax(np.abs(answer - stored)) / max(np.nanmax(np.abs(stored)), 1e-12))

# %% wrong: broadcasts
import numpy as np


def difference(answer, stored):
    stored = stored[:1]
    answer = answer[:1]
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return apart / max(largest, 1e-12)

# %% wrong: infinity is large
import numpy as np


def difference(answer, stored):
    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[~np.isnan(r)]).max(initial=0.0)
    return apart / max(largest, 1e-12)

# %% wrong: size compared instead of shape
import numpy as np


def difference(answer, stored):
    if answer.size != stored.size:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return apart / max(largest, 1e-12)

# %% wrong: any two infinities are equal
import numpy as np


def difference(answer, stored):
    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isinf(y) & np.isinf(r)) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return apart / max(largest, 1e-12)

# %% wrong: absolute
import numpy as np


def difference(answer, stored):
    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r) | (np.isnan(y) & np.isnan(r))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return apart

# %% wrong: two NaNs differ
import numpy as np


def difference(answer, stored):
    if answer.shape != stored.shape:
        return float("inf")
    y, r = answer.astype(float), stored.astype(float)
    same = (y == r)
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0.0, np.abs(y - r)).max()
    if np.isnan(apart):
        return float("inf")
    largest = np.abs(r[np.isfinite(r)]).max(initial=0.0)
    return apart / max(largest, 1e-12)
