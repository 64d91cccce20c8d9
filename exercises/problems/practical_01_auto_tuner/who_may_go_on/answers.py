"""Answers to `who_may_go_on`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def go_on(mine, others, keep, startup):
    ...

# %% solution
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep))

# %% right: pair by pair
import numpy as np


def go_on(mine, others, keep, startup):
    every = [list(mine)] + [list(row) for row in others]
    if len(every) < startup:
        return True

    def dominates(a, b):
        return all(x <= y for x, y in zip(a, b)) and any(x < y for x, y in zip(a, b))

    count = [sum(dominates(a, b) for a in every) for b in every]
    return count[0] <= np.quantile(count, keep)

# %% wrong: counts the trials it dominates
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(1)
    return bool(count[0] <= np.quantile(count, keep))

# %% wrong: must be strictly below the quantile
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] < np.quantile(count, keep))

# %% wrong: judged with too few trials
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if False:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep))

# %% wrong: only the others count for startup
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(others) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep))

# %% wrong: judged one trial too late
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) <= startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep))

# %% wrong: the quantile of the others
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count[1:], keep))

# %% wrong: counts itself and its duplicates as dominating
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep))

# %% wrong: dominates only where better everywhere
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a < b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep))

# %% wrong: always the median
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, 0.5))

# %% wrong: the rank below the quantile
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.sort(count)[int(keep * len(count)) - 1])

# %% wrong: an int instead of a bool
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return float(count[0] <= np.quantile(count, keep))

# %% wrong: only the front goes on
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= 0)

# %% wrong: by the sum of the goals
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = every.sum(1)
    return bool(count[0] <= np.quantile(count, keep))

# %% wrong: always goes on
import numpy as np


def go_on(mine, others, keep, startup):
    return True

# %% wrong: the next value above the quantile
import numpy as np


def go_on(mine, others, keep, startup):
    every = np.vstack([mine, others])
    if len(every) < startup:
        return True
    a, b = every[:, None], every[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    count = beats.sum(0)
    return bool(count[0] <= np.quantile(count, keep, method="higher"))
