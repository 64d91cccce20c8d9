"""Answers to `order_of_slices`: the starter, right ones and wrong ones."""

# %% starter
def order(positions, orientation):
    ...

# %% solution
import numpy as np


def order(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    return np.argsort(positions @ normal)

# %% right: without NumPy
def order(positions, orientation):
    a, b, c, d, e, f = orientation
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)

    def height(index):
        return sum(p * n for p, n in zip(positions[index], normal))

    return sorted(range(len(positions)), key=height)

# %% right: in torch
import torch


def order(positions, orientation):
    row, column = torch.as_tensor(orientation, dtype=torch.float64).view(2, 3)
    points = torch.as_tensor(positions, dtype=torch.float64)
    return (points @ torch.linalg.cross(row, column)).argsort().tolist()

# %% wrong: by z
import numpy as np


def order(positions, orientation):
    return np.argsort(np.asarray(positions)[:, 2])

# %% wrong: column times row
import numpy as np


def order(positions, orientation):
    normal = np.cross(orientation[3:], orientation[:3])
    return np.argsort(positions @ normal)

# %% wrong: by the distance from the origin
import numpy as np


def order(positions, orientation):
    return np.argsort(np.linalg.norm(positions, axis=1))

# %% wrong: by the coordinate that changes most
import numpy as np


def order(positions, orientation):
    positions = np.asarray(positions)
    axis = np.ptp(positions, axis=0).argmax()
    return np.argsort(positions[:, axis])

# %% wrong: by the coordinate along which the normal is longest
import numpy as np


def order(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    return np.argsort(np.asarray(positions)[:, np.abs(normal).argmax()])

# %% wrong: the ranks instead of the order
import numpy as np


def order(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    return np.argsort(np.argsort(positions @ normal))

# %% wrong: always upward
import numpy as np


def order(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    normal = normal * np.sign(normal[np.abs(normal).argmax()])
    return np.argsort(positions @ normal)

# %% wrong: the first twice
import numpy as np


def order(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    found = np.argsort(positions @ normal)
    return [*found[:-1], found[0]]

# %% wrong: by the normal's longest coordinate, with its sign
import numpy as np


def order(positions, orientation):
    normal = np.cross(orientation[:3], orientation[3:])
    k = np.abs(normal).argmax()
    return np.argsort(np.asarray(positions)[:, k] * np.sign(normal[k]))
