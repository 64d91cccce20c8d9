"""Answers to `find_the_front`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def on_front(points):
    ...

# %% solution
import numpy as np


def on_front(points):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    return ~beats.any(0)

# %% right: a list of bools
import numpy as np


def on_front(points):
    rows = points.tolist()

    def beats(a, b):
        return a != b and all(x <= y for x, y in zip(a, b))

    return [not any(beats(a, b) for a in rows) for b in rows]

# %% wrong: dominates only if better everywhere
import numpy as np


def on_front(points):
    a, b = points[:, None], points[None]
    beats = (a < b).all(-1) & (a < b).any(-1)
    return ~beats.any(0)

# %% wrong: duplicates dominate each other
import numpy as np


def on_front(points):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1)
    np.fill_diagonal(beats, False)
    return ~beats.any(0)

# %% wrong: larger is better
import numpy as np


def on_front(points):
    a, b = points[:, None], points[None]
    beats = (a >= b).all(-1) & (a > b).any(-1)
    return ~beats.any(0)

# %% wrong: the best of each goal only
import numpy as np


def on_front(points):
    return (points == points.min(0)).any(1)

# %% wrong: numbers instead of bools
import numpy as np


def on_front(points):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    return 1.0 - beats.any(0)

# %% wrong: indices instead of a mask
import numpy as np


def on_front(points):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    return np.flatnonzero(~beats.any(0))
