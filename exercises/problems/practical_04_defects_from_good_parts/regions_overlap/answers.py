"""Answers to `regions_overlap`."""

# %% starter
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    ...

# %% solution
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    overlaps = []
    for values, mask in zip(maps, masks, strict=True):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            overlaps.append((values[regions == number] > threshold).mean())
    return float(np.mean(overlaps))

# %% wrong: the fraction of defective pixels
import numpy as np


def regions_overlap(maps, masks, threshold):
    values = np.concatenate([m[mask] for m, mask in zip(maps, masks)])
    return (values > threshold).mean()

# %% wrong: the mean over the images
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    means = []
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        each = [(values[regions == i + 1] > threshold).mean() for i in range(count)]
        if each:
            means.append(np.mean(each))
    return np.mean(means)

# %% wrong: the mean over the images, empty ones included
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    means = []
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        each = [(values[regions == i + 1] > threshold).mean() for i in range(count)]
        means.append(np.mean(each) if each else 0.0)
    return np.mean(means)

# %% wrong: connected at the sides only
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    overlaps = []
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask)
        for number in range(1, count + 1):
            overlaps.append((values[regions == number] > threshold).mean())
    return np.mean(overlaps)

# %% wrong: found if one pixel is
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    overlaps = []
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            overlaps.append((values[regions == number] > threshold).any())
    return np.mean(overlaps)

# %% wrong: equal to the threshold is enough
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    overlaps = []
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            overlaps.append((values[regions == number] >= threshold).mean())
    return np.mean(overlaps)

# %% wrong: the background is a region
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    overlaps = []
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(count + 1):
            overlaps.append((values[regions == number] > threshold).mean())
    return np.mean(overlaps)

# %% wrong: the last region is left out
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    overlaps = []
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count):
            overlaps.append((values[regions == number] > threshold).mean())
    return np.mean(overlaps) if overlaps else 0.0

# %% wrong: intersection over union
import numpy as np


def regions_overlap(maps, masks, threshold):
    both = sum(((m > threshold) & mask).sum() for m, mask in zip(maps, masks))
    either = sum(((m > threshold) | mask).sum() for m, mask in zip(maps, masks))
    return both / either

# %% wrong: the first image only
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    regions, count = ndimage.label(masks[0], np.ones((3, 3)))
    found = [(maps[0][regions == i + 1] > threshold).mean() for i in range(count)]
    return np.mean(found)

# %% wrong: larger regions count more
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    total, weights = 0.0, 0.0
    for values, mask in zip(maps, masks):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            inside = values[regions == number] > threshold
            total, weights = total + inside.mean() * len(inside), weights + len(inside)
    return total / weights

# %% wrong: the masks side by side
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    height = max(len(mask) for mask in masks)

    def joined(images):
        return np.concatenate(
            [np.pad(x, ((0, height - len(x)), (0, 0))) for x in images], 1
        )

    values, mask = joined(maps), joined(masks)
    regions, number = ndimage.label(mask, np.ones((3, 3)))
    each = [(values[regions == i] > threshold).mean() for i in range(1, number + 1)]
    return float(np.mean(each))

# %% wrong: an empty mask counts as nothing found
import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    each = []
    for values, mask in zip(maps, masks):
        regions, number = ndimage.label(mask, np.ones((3, 3)))
        each += [(values[regions == i] > threshold).mean() for i in range(1, number + 1)]
        each += [] if number else [0.0]
    return float(np.mean(each))
