"""Answers to `stored_to_hu`: the starter, right ones and wrong ones."""

# %% starter
def to_hu(stored, slope, intercept, padding):
    ...

# %% solution
def to_hu(stored, slope, intercept, padding):
    hu = stored.astype(float) * slope + intercept
    if padding is not None:
        hu[stored == padding] = -1024
    return hu

# %% right: with where, in float32
import numpy as np


def to_hu(stored, slope, intercept, padding):
    hu = np.float32(slope) * stored.astype(np.float32) + np.float32(intercept)
    return hu if padding is None else np.where(stored == padding, -1024, hu)

# %% right: value by value
import numpy as np


def to_hu(stored, slope, intercept, padding):
    values = []
    for each in stored.ravel():
        outside = padding is not None and int(each) == padding
        values.append(-1024.0 if outside else int(each) * slope + intercept)
    return np.array(values).reshape(stored.shape)

# %% wrong: in the array's own integers
import numpy as np


def to_hu(stored, slope, intercept, padding):
    hu = stored * stored.dtype.type(slope) + np.array(int(intercept)).astype(stored.dtype)
    hu = hu.astype(float)
    if padding is not None:
        hu[stored == padding] = -1024
    return hu

# %% wrong: padding compared with HU
def to_hu(stored, slope, intercept, padding):
    hu = stored.astype(float) * slope + intercept
    if padding is not None:
        hu[hu == padding] = -1024
    return hu

# %% wrong: padding is ignored
def to_hu(stored, slope, intercept, padding):
    return stored.astype(float) * slope + intercept

# %% wrong: no slope
def to_hu(stored, slope, intercept, padding):
    hu = stored.astype(float) + intercept
    if padding is not None:
        hu[stored == padding] = -1024
    return hu

# %% wrong: the intercept first
def to_hu(stored, slope, intercept, padding):
    hu = (stored.astype(float) + intercept) * slope
    if padding is not None:
        hu[stored == padding] = -1024
    return hu

# %% wrong: padding 0 counts as none
def to_hu(stored, slope, intercept, padding):
    hu = stored.astype(float) * slope + intercept
    if padding:
        hu[stored == padding] = -1024
    return hu

# %% wrong: padding becomes the stored value -1024
def to_hu(stored, slope, intercept, padding):
    values = stored.astype(float)
    if padding is not None:
        values[stored == padding] = -1024
    return values * slope + intercept

# %% wrong: clipped at -1024
import numpy as np


def to_hu(stored, slope, intercept, padding):
    hu = stored.astype(float) * slope + intercept
    if padding is not None:
        hu[stored == padding] = -1024
    return np.maximum(hu, -1024)
