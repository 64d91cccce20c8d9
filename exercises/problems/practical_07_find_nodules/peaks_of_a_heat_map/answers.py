"""Answers to `peaks_of_a_heat_map`: the starter, right ones and wrong ones."""

# %% starter
def peaks(heat, least):
    ...

# %% solution
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    order = heat[tuple(index.T)].argsort(descending=True)
    return index[order]

# %% right: with SciPy
import numpy as np
from scipy import ndimage


def peaks(heat, least):
    values = heat.numpy()
    highest = ndimage.maximum_filter(values, 3, mode="nearest")
    index = np.argwhere((values == highest) & (values >= least))
    return index[np.argsort(-values[tuple(index.T)])]

# %% right: in loops
def peaks(heat, least):
    values, found = heat.tolist(), []
    d, h, w = heat.shape
    for z in range(d):
        for y in range(h):
            for x in range(w):
                near = [
                    values[k][j][i]
                    for k in range(max(0, z - 1), min(d, z + 2))
                    for j in range(max(0, y - 1), min(h, y + 2))
                    for i in range(max(0, x - 1), min(w, x + 2))
                ]
                if values[z][y][x] >= least and values[z][y][x] == max(near):
                    found.append((values[z][y][x], z, y, x))
    return [place for _, *place in sorted(found, reverse=True)]

# %% wrong: greater than the threshold
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    index = ((heat == highest) & (heat > least)).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: half a voxel off
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)] + 0.5

# %% wrong: the highest twenty
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)][:20]

# %% wrong: each peak twice
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    index = index[heat[tuple(index.T)].argsort(descending=True)]
    return index.repeat_interleave(2, 0)

# %% wrong: a window of five
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 5, stride=1, padding=2)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: six neighbors
import numpy as np
from scipy import ndimage


def peaks(heat, least):
    values = heat.numpy()
    cross = ndimage.generate_binary_structure(3, 1)
    highest = ndimage.maximum_filter(values, footprint=cross, mode="nearest")
    index = np.argwhere((values == highest) & (values >= least))
    return index[np.argsort(-values[tuple(index.T)])]

# %% wrong: padded with a low number
import torch.nn.functional as F


def peaks(heat, least):
    padded = F.pad(heat, (1,) * 6, value=-1000.0)
    highest = F.max_pool3d(padded[None, None], 3, stride=1)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: padded with zeros
import torch
import torch.nn.functional as F


def peaks(heat, least):
    padded = F.pad(heat, (1,) * 6)
    highest = F.max_pool3d(padded[None, None], 3, stride=1)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: around the volume
import torch
from itertools import product


def peaks(heat, least):
    keep = heat >= least
    for step in product((-1, 0, 1), repeat=3):
        keep &= heat >= torch.roll(heat, step, (0, 1, 2))
    index = keep.nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: without the threshold
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    index = (heat == highest).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: everything above the threshold
def peaks(heat, least):
    index = (heat >= least).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: in the order of the voxels
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    return ((heat == highest) & (heat >= least)).nonzero()

# %% wrong: only the inside
import torch.nn.functional as F


def peaks(heat, least):
    inner = heat[1:-1, 1:-1, 1:-1]
    highest = F.max_pool3d(heat[None, None], 3, stride=1)[0, 0]
    index = ((inner == highest) & (inner >= least)).nonzero() + 1
    return index[heat[tuple(index.T)].argsort(descending=True)]

# %% wrong: the order x, y, z
import torch.nn.functional as F


def peaks(heat, least):
    highest = F.max_pool3d(heat[None, None], 3, stride=1, padding=1)[0, 0]
    index = ((heat == highest) & (heat >= least)).nonzero()
    return index[heat[tuple(index.T)].argsort(descending=True)].flip(1)
