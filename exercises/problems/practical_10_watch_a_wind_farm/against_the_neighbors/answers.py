"""Answers to `against_the_neighbors`: the starter, right ones and wrong ones."""

# %% starter
def deviations(change, alarmed):
    ...

# %% solution
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed, np.nan, change)
    result = np.full(change.shape, np.nan)
    for i in range(len(change)):
        others = np.delete(usable, i, axis=0)
        enough = np.isfinite(others).sum(0) >= 2
        middle = np.nanmedian(others[:, enough], axis=0)
        result[i, enough] = change[i, enough] - middle
    return result

# %% right: value by value
import math
from statistics import median


def deviations(change, alarmed):
    n, k = change.shape
    rows = []
    for i in range(n):
        row = []
        for t in range(k):
            others = [
                float(change[j, t])
                for j in range(n)
                if j != i and not alarmed[j, t] and not math.isnan(change[j, t])
            ]
            enough = len(others) >= 2
            row.append(float(change[i, t]) - median(others) if enough else math.nan)
        rows.append(row)
    return rows

# %% right: with pandas
import numpy as np
import pandas as pd


def deviations(change, alarmed):
    own = pd.DataFrame(change)
    usable = own.mask(alarmed)
    rows = []
    for i in range(len(own)):
        others = usable.drop(index=i)
        rows.append(own.loc[i] - others.median().where(others.count() > 1))
    return np.array(rows)

# %% wrong: the turbine itself is a neighbor
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed, np.nan, change)
    enough = np.isfinite(usable).sum(0) >= 3
    return np.where(enough, change - np.nanmedian(usable, 0), np.nan)

# %% wrong: the mean
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed, np.nan, change)
    result = np.full(change.shape, np.nan)
    for i in range(len(change)):
        others = np.delete(usable, i, axis=0)
        enough = np.isfinite(others).sum(0) >= 2
        result[i, enough] = change[i, enough] - np.nanmean(others[:, enough], 0)
    return result

# %% wrong: alarmed turbines stay neighbors
import numpy as np


def deviations(change, alarmed):
    result = np.full(change.shape, np.nan)
    for i in range(len(change)):
        others = np.delete(change, i, axis=0)
        enough = np.isfinite(others).sum(0) >= 2
        result[i, enough] = change[i, enough] - np.nanmedian(others[:, enough], 0)
    return result

# %% wrong: an alarmed turbine has no deviation
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed, np.nan, change)
    result = np.full(change.shape, np.nan)
    for i in range(len(change)):
        others = np.delete(usable, i, axis=0)
        enough = np.isfinite(others).sum(0) >= 2
        result[i, enough] = usable[i, enough] - np.nanmedian(others[:, enough], 0)
    return result

# %% wrong: one neighbor is enough
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed, np.nan, change)
    result = np.full(change.shape, np.nan)
    for i in range(len(change)):
        others = np.delete(usable, i, axis=0)
        enough = np.isfinite(others).any(0)
        result[i, enough] = change[i, enough] - np.nanmedian(others[:, enough], 0)
    return result

# %% wrong: NaN makes everything NaN
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed, np.nan, change)
    return np.stack(
        [
            change[i] - np.median(np.delete(usable, i, axis=0), axis=0)
            for i in range(len(change))
        ]
    )

# %% wrong: gaps are zeros
import numpy as np


def deviations(change, alarmed):
    usable = np.nan_to_num(np.where(alarmed, 0, change))
    return np.stack(
        [
            np.nan_to_num(change[i]) - np.median(np.delete(usable, i, axis=0), axis=0)
            for i in range(len(change))
        ]
    )

# %% wrong: the neighbors minus the turbine
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed, np.nan, change)
    result = np.full(change.shape, np.nan)
    for i in range(len(change)):
        others = np.delete(usable, i, axis=0)
        enough = np.isfinite(others).sum(0) >= 2
        result[i, enough] = np.nanmedian(others[:, enough], 0) - change[i, enough]
    return result

# %% wrong: an alarm counts for all blocks
import numpy as np


def deviations(change, alarmed):
    usable = np.where(alarmed.any(1, keepdims=True), np.nan, change)
    result = np.full(change.shape, np.nan)
    for i in range(len(change)):
        others = np.delete(usable, i, axis=0)
        enough = np.isfinite(others).sum(0) >= 2
        if enough.any():
            result[i, enough] = change[i, enough] - np.nanmedian(others[:, enough], 0)
    return result
