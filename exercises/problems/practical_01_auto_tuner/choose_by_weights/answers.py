"""Answers to `choose_by_weights`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def choose(points, weights):
    ...

# %% solution
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])

# %% right: goal by goal
import numpy as np


def choose(points, weights):
    rows = points.tolist()
    front = [
        i for i, row in enumerate(rows)
        if not any(
            all(a <= b for a, b in zip(other, row)) and other != row for other in rows
        )
    ]
    best, chosen = float("inf"), None
    for i in front:
        total = 0.0
        for m, weight in enumerate(weights):
            column = [rows[j][m] for j in front]
            if max(column) > min(column):
                total += weight * (rows[i][m] - min(column)) / (max(column) - min(column))
        if total < best:
            best, chosen = total, i
    return chosen

# %% wrong: goals not scaled
import numpy as np


def choose(points, weights):
    return int(np.argmin(points @ weights))

# %% wrong: scaled by all points
import numpy as np


def choose(points, weights):
    low, high = points.min(0), points.max(0)
    scaled = (points - low) / np.where(high > low, high - low, 1)
    return int(np.argmin(scaled @ weights))

# %% wrong: index within the front, not the row
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(np.argmin(scaled @ weights))

# %% wrong: 0 / 0
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = high - low
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])

# %% wrong: the largest sum
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmax(scaled @ weights)])

# %% wrong: dominated only if worse everywhere
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a < b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])

# %% wrong: equal points eliminate each other
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & ~np.eye(len(points), dtype=bool)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])

# %% wrong: divided by the standard deviation
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, points[front].std(0), 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])

# %% wrong: divided by the maximum
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])

# %% wrong: scaled from 0, not from the minimum
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = 0 * points[0], points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled @ weights)])

# %% wrong: weights ignored
import numpy as np


def choose(points, weights):
    a, b = points[:, None], points[None]
    beats = (a <= b).all(-1) & (a < b).any(-1)
    front = np.flatnonzero(~beats.any(0))
    low, high = points[front].min(0), points[front].max(0)
    span = np.where(high > low, high - low, 1)
    scaled = (points[front] - low) / span
    return int(front[np.argmin(scaled.sum(1))])
