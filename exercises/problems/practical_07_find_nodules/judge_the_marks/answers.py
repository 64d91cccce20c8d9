"""Answers to `judge_the_marks`: the starter, right ones and wrong ones."""

# %% starter
def judge(marks, nodules):
    ...

# %% solution
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    near = distance < nodules[:, 3] / 2  # [N, M]
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% right: in loops
def judge(marks, nodules):
    found, used = set(), set()
    for i, (_, z, y, x) in enumerate(marks):
        for k, (cz, cy, cx, diameter) in enumerate(nodules):
            squared = (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2
            if 4 * squared < diameter**2:
                found.add(k)
                used.add(i)
    return len(found), len(marks) - len(used)

# %% right: in torch
import torch


def judge(marks, nodules):
    points, centers = torch.as_tensor(marks)[:, 1:], torch.as_tensor(nodules)[:, :3]
    near = torch.cdist(points, centers) < torch.as_tensor(nodules)[:, 3] / 2
    return near.any(0).sum(), near.logical_not().all(1).sum()

# %% right: with a tree
import numpy as np
from scipy.spatial import KDTree


def judge(marks, nodules):
    if not len(marks):
        return 0, 0
    tree, hit, found = KDTree(marks[:, 1:]), set(), 0
    for *center, diameter in nodules:
        inside = [i for i in tree.query_ball_point(center, diameter / 2)
                  if np.linalg.norm(marks[i, 1:] - center) < diameter / 2]
        hit.update(inside)
        found += bool(inside)
    return found, len(marks) - len(hit)

# %% wrong: the diameter for the radius
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    near = distance < nodules[:, 3]
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: the surface belongs to the nodule
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    near = distance <= nodules[:, 3] / 2
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: every mark on a nodule finds one
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    near = distance < nodules[:, 3] / 2
    return int(near.any(1).sum()), int((~near.any(1)).sum())

# %% wrong: repeated marks are false
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    found = int((distance < nodules[:, 3] / 2).any(0).sum())
    return found, len(marks) - found

# %% wrong: one mark, one nodule
import numpy as np


def judge(marks, nodules):
    found, false = set(), 0
    for _, *point in marks:
        distance = np.linalg.norm(nodules[:, :3] - point, axis=1)
        hits = np.flatnonzero(distance < nodules[:, 3] / 2)
        if len(hits):
            found.add(hits[distance[hits].argmin()])
        else:
            false += 1
    return len(found), false

# %% wrong: the nearest center decides what is false
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    radius = nodules[:, 3] / 2
    if not len(nodules):
        return 0, len(marks)
    nearest = distance.argmin(1)
    false = distance[np.arange(len(marks)), nearest] >= radius[nearest]
    return int((distance < radius).any(0).sum()), int(false.sum())

# %% wrong: a cube for a ball
import numpy as np


def judge(marks, nodules):
    far = np.abs(marks[:, None, 1:] - nodules[None, :, :3]).max(2)
    near = far < nodules[:, 3] / 2
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: in the plane only
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 2:] - nodules[None, :, 1:3], axis=2)
    near = distance < nodules[:, 3] / 2
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: whole millimeters
import numpy as np


def judge(marks, nodules):
    marks = marks.round()
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    near = distance < nodules[:, 3] / 2
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: marks with a score of 0 are dropped
import numpy as np


def judge(marks, nodules):
    marks = marks[marks[:, 0] > 0]
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    near = distance < nodules[:, 3] / 2
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: squared on one side
import numpy as np


def judge(marks, nodules):
    squared = ((marks[:, None, 1:] - nodules[None, :, :3]) ** 2).sum(2)
    near = squared < nodules[:, 3] / 2
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: the score is taken for a coordinate
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, :3] - nodules[None, :, :3], axis=2)
    near = distance < nodules[:, 3] / 2
    return int(near.any(0).sum()), int((~near.any(1)).sum())

# %% wrong: the other way round
import numpy as np


def judge(marks, nodules):
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    near = distance < nodules[:, 3] / 2
    return int((~near.any(1)).sum()), int(near.any(0).sum())
