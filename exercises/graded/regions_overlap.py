import numpy as np
from scipy import ndimage


def regions_overlap(maps, masks, threshold):
    overlaps = []
    for values, mask in zip(maps, masks, strict=True):
        regions, count = ndimage.label(mask, np.ones((3, 3)))
        for number in range(1, count + 1):
            overlaps.append((values[regions == number] > threshold).mean())
    return float(np.mean(overlaps))
