"""Synthetic defects for training a segmenter on good parts alone.

A random blob or stroke, cut out of smooth noise, is filled with another texture. The
segmenter learns to mark it. The shapes and fillings are deliberately generic: none was made
to imitate a kind of defect in `surfaces.py`, which is used for testing. Some resemble one,
though: a smoothed spot is like "blur", and a piece of another part is like "cutpaste".
Zavrtanik et al. 2021, "DRAEM", ICCV.
Lesson: `notebooks/practical/04_defects_from_good_parts.ipynb`.
"""

import numpy as np
from scipy import ndimage

VISIBLE = 0.02  # the smallest change, in gray values, that counts as a defect


def spoil(
    image: np.ndarray, rng: np.random.Generator, sources: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Add one to three synthetic defects to a good part.

    Args:
        image: a good part, of shape `[H, W]` with values from 0 to 1.
        sources: other good parts to take fillings from, of shape `[N, H, W]`.

    Returns:
        The spoiled image and a Boolean mask, True inside the shapes. A shape whose change
        would be invisible is left out.
    """
    result, mask = image.copy(), np.zeros(image.shape, bool)
    for _ in range(rng.integers(1, 4)):
        shape, opacity = _shape(image.shape, rng), rng.uniform(0.3, 1)
        change = opacity * shape * (_filling(image, rng, sources) - result)
        if np.abs(change).max() > VISIBLE:
            result += change
            mask |= shape > 0.5
    return result.clip(0, 1).astype("float32"), mask


def _shape(size: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return the opacity of a random shape: the top of a smooth, stretched noise.

    The shape covers 0.02% to 3% of the image and lies in a window at a random place, so
    that small shapes are as frequent as large ones.
    """
    scale = np.exp(rng.uniform(np.log(1.5), np.log(20), 2))
    if rng.random() < 0.5:  # long and thin
        scale = np.array([scale.min() / 2, scale.max() * 2])
    noise = ndimage.gaussian_filter(rng.normal(size=size), scale)
    noise = ndimage.rotate(noise, rng.uniform(0, 180), reshape=False, mode="reflect")
    y, x = np.mgrid[: size[0], : size[1]]
    center = rng.uniform(0, 1, 2) * size
    reach = np.exp(rng.uniform(np.log(4), np.log(0.3 * min(size))))
    far = np.hypot(y - center[0], x - center[1])
    noise = noise / noise.std() - (far / reach) ** 2
    part = np.exp(rng.uniform(np.log(2e-4), np.log(0.03)))
    level = np.quantile(noise, 1 - part)
    edge = 0.05 * noise[noise > level].std() + 1e-6
    return np.clip((noise - level) / edge, 0, 1)


def _filling(
    image: np.ndarray, rng: np.random.Generator, sources: np.ndarray
) -> np.ndarray:
    """Return what a shape is filled with, of the image's shape."""
    kind = rng.integers(5)
    if kind == 0:  # a level of gray
        return np.full_like(image, rng.uniform(0, 1))
    if kind == 1:  # the surface itself, brighter or darker
        return image + rng.choice([-1, 1]) * rng.uniform(0.08, 0.4)
    if kind == 2:  # the surface, smoothed
        return ndimage.gaussian_filter(image, np.exp(rng.uniform(0, np.log(12))))
    if kind == 3:  # another piece of a good part, turned and lit differently
        other = np.rot90(sources[rng.integers(len(sources))], int(rng.integers(1, 4)))
        return other * rng.uniform(0.7, 1.3)
    noise = ndimage.gaussian_filter(rng.normal(size=image.shape), rng.uniform(0.5, 3))
    return image.mean() + noise / noise.std() * rng.uniform(0.05, 0.3)
