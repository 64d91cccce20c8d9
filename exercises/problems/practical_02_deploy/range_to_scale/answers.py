"""Answers to `range_to_scale`: the starter, right ones and wrong ones."""

# %% starter
def scale_and_zero(low, high):
    ...

# %% solution
def scale_and_zero(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, round(-low / scale)

# %% right: in NumPy, float32
import numpy as np


def scale_and_zero(low, high):
    ends = np.array([min(low, 0), max(high, 0)], "float32")
    scale = np.float32((ends[1] - ends[0]) / 255)
    if scale == 0:
        return np.float32(1), np.int64(0)
    return scale, np.rint(-ends[0] / scale).astype(int)

# %% wrong: zero outside the range
def scale_and_zero(low, high):
    scale = (high - low) / 255 or 1.0
    return scale, round(-low / scale)

# %% wrong: 256 steps
def scale_and_zero(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 256 or 1.0
    return scale, round(-low / scale)

# %% wrong: zero point not rounded
def scale_and_zero(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, -low / scale

# %% wrong: zero point with the wrong sign
def scale_and_zero(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255 or 1.0
    return scale, round(high / scale)

# %% wrong: one unused code at each end
def scale_and_zero(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 253 or 1.0
    return scale, 1 + round(-low / scale)

# %% wrong: invalid zero point for an all-zero range
def scale_and_zero(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return (scale, round(-low / scale)) if scale else (1.0, 300)

# %% wrong: a scale of 0
def scale_and_zero(low, high):
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    return scale, round(-low / scale) if scale else 0
