"""Answers to `choose_a_coreset`: the starter, right ones and wrong ones."""

# %% starter
import numpy as np


def coreset(vectors, size, first):
    ...

# %% solution
import numpy as np


def coreset(vectors, size, first):
    chosen = [first]
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < size:
        chosen.append(int(distance.argmax()))
        new = np.linalg.norm(vectors - vectors[chosen[-1]], axis=1)
        distance = np.minimum(distance, new)
    return chosen

# %% right: all distances at once
import numpy as np


def coreset(vectors, size, first):
    squares = ((vectors[:, None] - vectors) ** 2).sum(2)
    chosen = [first]
    for _ in range(size - 1):
        chosen.append(np.argmax(squares[chosen].min(0)))
    return np.array(chosen)

# %% right: in PyTorch and float32
import torch


def coreset(vectors, size, first):
    x = torch.from_numpy(vectors).float()
    chosen = torch.tensor([first])
    while len(chosen) < size:
        nearest = (x[:, None] - x[chosen]).norm(dim=2).amin(1)
        chosen = torch.cat([chosen, nearest.argmax()[None]])
    return chosen

# %% right: in plain Python
import math


def coreset(vectors, size, first):
    points = vectors.tolist()
    chosen = (first,)
    while len(chosen) < size:
        rest = [i for i in range(len(points)) if i not in chosen]
        gaps = [min(math.dist(points[i], points[j]) for j in chosen) for i in rest]
        chosen += (rest[gaps.index(max(gaps))],)
    return chosen

# %% wrong: farthest from the last
import numpy as np


def coreset(vectors, size, first):
    chosen = [first]
    while len(chosen) < size:
        distance = np.linalg.norm(vectors - vectors[chosen[-1]], axis=1)
        distance[chosen] = -1
        chosen.append(int(distance.argmax()))
    return chosen

# %% wrong: farthest from the first
import numpy as np


def coreset(vectors, size, first):
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    return np.argsort(-distance)[[-1, *range(size - 1)]]

# %% wrong: farthest on average
import numpy as np


def coreset(vectors, size, first):
    chosen = [first]
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < size:
        left = distance.copy()
        left[chosen] = -1
        chosen.append(int(left.argmax()))
        distance += np.linalg.norm(vectors - vectors[chosen[-1]], axis=1)
    return chosen

# %% wrong: the larger of both distances
import numpy as np


def coreset(vectors, size, first):
    chosen = [first]
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < size:
        left = distance.copy()
        left[chosen] = -1
        chosen.append(int(left.argmax()))
        new = np.linalg.norm(vectors - vectors[chosen[-1]], axis=1)
        distance = np.maximum(distance, new)
    return chosen

# %% wrong: sums of absolute differences
import numpy as np


def coreset(vectors, size, first):
    chosen = [first]
    distance = np.abs(vectors - vectors[first]).sum(1)
    while len(chosen) < size:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(vectors - vectors[chosen[-1]]).sum(1))
    return chosen

# %% wrong: the nearest instead of the farthest
import numpy as np


def coreset(vectors, size, first):
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    return np.argsort(distance, kind="stable")[:size]

# %% wrong: starts at row 0
import numpy as np


def coreset(vectors, size, first):
    chosen = [0]
    distance = np.linalg.norm(vectors - vectors[0], axis=1)
    while len(chosen) < size:
        chosen.append(int(distance.argmax()))
        new = np.linalg.norm(vectors - vectors[chosen[-1]], axis=1)
        distance = np.minimum(distance, new)
    return chosen

# %% wrong: one too many
import numpy as np


def coreset(vectors, size, first):
    chosen = [first]
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    for _ in range(size):
        chosen.append(int(distance.argmax()))
        new = np.linalg.norm(vectors - vectors[chosen[-1]], axis=1)
        distance = np.minimum(distance, new)
    return chosen

# %% wrong: the vectors instead of their rows
import numpy as np


def coreset(vectors, size, first):
    chosen = [first]
    distance = np.linalg.norm(vectors - vectors[first], axis=1)
    while len(chosen) < size:
        chosen.append(int(distance.argmax()))
        new = np.linalg.norm(vectors - vectors[chosen[-1]], axis=1)
        distance = np.minimum(distance, new)
    return vectors[chosen]

# %% wrong: at random
import numpy as np


def coreset(vectors, size, first):
    others = [i for i in range(len(vectors)) if i != first]
    return [first, *np.random.default_rng().permutation(others)[: size - 1]]
