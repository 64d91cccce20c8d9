"""Answers to `area_under_the_front`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def hypervolume(points, reference):
    ...

# %% solution
import numpy as np


def hypervolume(points, reference):
    area, floor = 0.0, reference[1]
    for x, y in sorted(points.tolist()):
        if x < reference[0] and y < floor:
            area += (reference[0] - x) * (floor - y)
            floor = y
    return area

# %% right: cell by cell
import numpy as np


def hypervolume(points, reference):
    xs = np.unique(np.append(np.minimum(points[:, 0], reference[0]), reference[0]))
    area = 0.0
    for left, right in zip(xs[:-1], xs[1:]):
        lowest = points[points[:, 0] <= left, 1].min()
        area += (right - left) * max(reference[1] - lowest, 0)
    return area

# %% wrong: overlaps counted twice
import numpy as np


def hypervolume(points, reference):
    sides = np.clip(reference - points, 0, None)
    return sides.prod(1).sum()

# %% wrong: points beyond the reference not left out
import numpy as np


def hypervolume(points, reference):
    area, floor = 0.0, reference[1]
    for x, y in sorted(points.tolist()):
        if y < floor:
            area += (reference[0] - x) * (floor - y)
            floor = y
    return area

# %% wrong: the floor never falls
import numpy as np


def hypervolume(points, reference):
    area, floor = 0.0, reference[1]
    for x, y in sorted(points.tolist()):
        if x < reference[0] and y < floor:
            area += (reference[0] - x) * (floor - y)
    return area

# %% wrong: the largest rectangle only
import numpy as np


def hypervolume(points, reference):
    sides = np.clip(reference - points, 0, None)
    return sides.prod(1).max()

# %% wrong: negative coordinates clipped at zero
import numpy as np


def hypervolume(points, reference):
    points = np.clip(points, 0, None)
    area, floor = 0.0, reference[1]
    for x, y in sorted(points.tolist()):
        if x < reference[0] and y < floor:
            area += (reference[0] - x) * (floor - y)
            floor = y
    return area

# %% wrong: in float32
import numpy as np


def hypervolume(points, reference):
    points, reference = (x.astype(np.float32) for x in (points, reference))
    area, floor = 0.0, reference[1]
    for x, y in sorted(points.tolist()):
        if x < reference[0] and y < floor:
            area += (reference[0] - x) * (floor - y)
            floor = y
    return area

# %% wrong: unsorted
import numpy as np


def hypervolume(points, reference):
    area, floor = 0.0, reference[1]
    for x, y in points.tolist():
        if x < reference[0] and y < floor:
            area += (reference[0] - x) * (floor - y)
            floor = y
    return area
