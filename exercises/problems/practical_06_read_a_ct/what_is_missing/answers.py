"""Answers to `what_is_missing`: the starter, right ones and wrong ones."""

# %% starter
def missing(heights):
    ...

# %% solution
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = np.median(gaps[gaps <= 1.25 * gaps.min()])
    result = []
    for low, gap in zip(heights, gaps):
        steps = round(gap / spacing)
        result += [low + gap * k / steps for k in range(1, steps)]
    return result

# %% right: a grid, minus what is there
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = gaps[gaps < 1.3 * gaps.min()].mean()
    count = round((heights[-1] - heights[0]) / spacing)
    grid = np.linspace(heights[0], heights[-1], count + 1)
    far = np.abs(grid[:, None] - heights).min(1) > spacing / 2
    return grid[far]

# %% right: with plain lists
def missing(heights):
    ordered = sorted(heights)
    gaps = [b - a for a, b in zip(ordered, ordered[1:])]
    small = [gap for gap in gaps if gap < 1.4 * min(gaps)]
    spacing = sum(small) / len(small)
    result = []
    for low, gap in zip(ordered, gaps):
        steps = int(gap / spacing + 0.5)
        for k in range(1, steps):
            result.append(low + k * gap / steps)
    return tuple(result)

# %% wrong: not sorted
import numpy as np


def missing(heights):
    heights = np.asarray(heights)
    gaps = np.abs(np.diff(heights))
    spacing = gaps.min()
    result = []
    for low, gap in zip(heights, gaps):
        steps = round(gap / spacing)
        result += [low + gap * k / steps for k in range(1, steps)]
    return result

# %% wrong: the spacing is the mean
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = gaps.mean()
    result = []
    for low, gap in zip(heights, gaps):
        steps = round(gap / spacing)
        result += [low + gap * k / steps for k in range(1, steps)]
    return result

# %% wrong: one slice per gap
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = np.median(gaps[gaps <= 1.25 * gaps.min()])
    return [low + gap / 2 for low, gap in zip(heights, gaps) if gap > 1.5 * spacing]

# %% wrong: every gap that differs from the smallest
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = gaps.min()
    result = []
    for low, gap in zip(heights, gaps):
        steps = int(np.ceil(gap / spacing - 1e-9))
        result += [low + gap * k / steps for k in range(1, steps)]
    return result

# %% wrong: also the slice above the gap
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = np.median(gaps[gaps <= 1.25 * gaps.min()])
    result = []
    for low, gap in zip(heights, gaps):
        steps = round(gap / spacing)
        if steps > 1:
            result += [low + gap * k / steps for k in range(1, steps + 1)]
    return result

# %% wrong: how many, not where
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = np.median(gaps[gaps <= 1.25 * gaps.min()])
    return [round(gap / spacing) - 1 for gap in gaps]

# %% wrong: downward
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = np.median(gaps[gaps <= 1.25 * gaps.min()])
    result = []
    for low, gap in zip(heights, gaps):
        steps = round(gap / spacing)
        result += [low + gap * k / steps for k in range(1, steps)]
    return result[::-1]

# %% wrong: nothing is missing
def missing(heights):
    return []

# %% wrong: the spacing is the first gap
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = gaps[0]
    result = []
    for low, gap in zip(heights, gaps):
        steps = max(1, round(gap / spacing))
        result += [low + gap * k / steps for k in range(1, steps)]
    return result

# %% wrong: the spacing is the median gap
import numpy as np


def missing(heights):
    heights = np.sort(heights)
    gaps = np.diff(heights)
    spacing = np.median(gaps)
    result = []
    for low, gap in zip(heights, gaps):
        steps = max(1, round(gap / spacing))
        result += [low + gap * k / steps for k in range(1, steps)]
    return result
