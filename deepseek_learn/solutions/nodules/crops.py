"""Crops of scans to train the nodule detector on, with what it should predict."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.utils.data import Dataset

from ...zoo.nets.nodule_net import STRIDE, UNIT_MM

CROP = 64  # mm
NEAR_NODULE, JITTER_MM = 0.75, 20.0
NEAR_NODULE_LATER, NEAR_MISTAKE = 0.5, 0.7  # the second: of the crops without a nodule
LUNG = (36, 99)  # gray values, -950 to -500 HU

Scans = Sequence[tuple[np.ndarray, np.ndarray]]


class Crops(Dataset):
    """Crops of scans with their targets; an index always gives the same crop.

    Args:
        scans: gray values (uint8, `[Z, Y, X]`) and nodules (z, y, x, diameter in mm).
        length: the number of crops.
        augment: whether crops are blurred, made noisier and given another contrast.
        size: the side of a crop in mm.
        mistakes: for each scan, the centers (z, y, x) of false marks, `[K, 3]`. With
            them, the crops are those of the second stage.
    """

    def __init__(
        self,
        scans: Scans,
        length: int,
        seed: int = 0,
        augment: bool = True,
        size: int = CROP,
        mistakes: Sequence[np.ndarray] | None = None,
    ):
        self.scans, self.length, self.mistakes = scans, length, mistakes
        self.seed, self.augment, self.size = seed, augment, size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        x, y = self.batch([index])
        return x[0], y[0]

    def batch(self, index: Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """Return crops `[B, 1, 64, 64, 64]` in 0..1 and targets `[B, 6, 32, 32, 32]`."""
        pairs = [self.crop(int(i)) for i in index]
        volumes = np.stack([crop for crop, _ in pairs])
        targets = np.stack([target(own, crop.shape) for crop, own in pairs])
        return torch.from_numpy(volumes)[:, None], torch.from_numpy(targets)

    def crop(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a crop, and its nodules: (z, y, x, diameter) in mm, `[N, 4]`."""
        rng = np.random.default_rng([self.seed, index])
        chosen = int(rng.integers(len(self.scans)))
        gray, nodules = self.scans[chosen]
        if self.mistakes is None:
            center = _center(rng, gray, nodules, NEAR_NODULE)
        else:
            center = _center(
                rng, gray, nodules, NEAR_NODULE_LATER, self.mistakes[chosen]
            )
        limit = np.array(gray.shape) - self.size
        corner = np.clip(np.round(center - self.size / 2), 0, limit).astype(int)
        part = gray[tuple(slice(n, n + self.size) for n in corner)]
        crop = np.asarray(part, np.float32) / 255
        own = nodules - np.array([*corner, 0])
        if self.augment:
            if self.mistakes is not None and rng.random() < 0.5:
                crop = _rescanned(rng, crop)
            crop, own = _turned(rng, *_altered(rng, crop, own))
        return np.ascontiguousarray(crop), own


def _center(
    rng: np.random.Generator,
    gray: np.ndarray,
    nodules: np.ndarray,
    near_nodule: float,
    mistakes: np.ndarray | None = None,
) -> np.ndarray:
    """Return the middle (z, y, x) of a crop."""
    if len(nodules) and rng.random() < near_nodule:
        near = nodules[rng.integers(len(nodules)), :3]
    elif mistakes is not None and len(mistakes) and rng.random() < NEAR_MISTAKE:
        near = mistakes[rng.integers(len(mistakes))]
    else:
        return _in_lung(rng, gray)
    return near + rng.uniform(-JITTER_MM, JITTER_MM, 3)


def _in_lung(rng: np.random.Generator, gray: np.ndarray) -> np.ndarray:
    for _ in range(100):
        center = rng.uniform(0, np.array(gray.shape) - 1)
        if LUNG[0] < gray[tuple(center.astype(int))] < LUNG[1]:
            break
    return center


def _rescanned(rng: np.random.Generator, crop: np.ndarray) -> np.ndarray:
    """Make a crop look like another scanner's: thick slices, soft kernel, coarse noise."""
    from scipy.interpolate import interp1d  # slow to import, and only training needs it

    slice_mm, soft = rng.uniform(1, 3), rng.uniform(0, 0.9)
    along = slice_mm * rng.uniform(1, 1.25) / np.sqrt(12)  # deviation of a slice's box
    crop = ndimage.gaussian_filter(crop, [along, soft, soft], truncate=2.5)
    z = np.arange(0, len(crop) - 1, slice_mm)
    grain = rng.standard_normal((len(z), *crop.shape[1:]), np.float32)
    coarse = rng.uniform(0, 1.2)
    grain = ndimage.gaussian_filter(grain, [0.3, coarse, coarse], truncate=2.5)
    grain *= rng.uniform(0, 0.035) / grain.std()
    slices = interp1d(np.arange(len(crop)), crop, axis=0)(z) + grain
    voxels = np.clip(np.arange(len(crop)), z[0], z[-1])
    return interp1d(z, slices, axis=0)(voxels).astype(np.float32)


def _altered(
    rng: np.random.Generator, crop: np.ndarray, nodules: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Change what another scanner or patient would change."""
    if rng.random() < 0.4:
        sigma = [rng.uniform(0, 1.2), *([rng.uniform(0, 0.7)] * 2)]
        crop = ndimage.gaussian_filter(crop, sigma, truncate=2.5)
    if rng.random() < 0.4:
        grain = rng.standard_normal(crop.shape, np.float32)
        crop = crop + rng.uniform(0, 0.03) * grain
    crop = crop * rng.uniform(0.92, 1.08) + rng.uniform(-0.03, 0.03)
    return crop.astype(np.float32), nodules


def _turned(
    rng: np.random.Generator, crop: np.ndarray, nodules: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    nodules = nodules.copy()
    for axis in range(3):
        if rng.random() < 0.5:
            crop = np.flip(crop, axis)
            nodules[:, axis] = crop.shape[axis] - 1 - nodules[:, axis]
    if rng.random() < 0.5:
        crop = crop.transpose(0, 2, 1)
        nodules[:, [1, 2]] = nodules[:, [2, 1]]
    return crop, nodules


def target(nodules: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Return what the network should predict for a volume.

    Args:
        nodules: (z, y, x, diameter) in mm from the volume's first voxel, `[N, 4]`.
        shape: the volume's shape in voxels of 1 mm.

    Returns:
        `[6, D/2, H/2, W/2]`: the heat map (1 at a center, a Gaussian around it), the log
        diameter, the three offsets in cells, and where these four count.
    """
    size = tuple(n // STRIDE for n in shape)
    result = np.zeros((6, *size), np.float32)
    axes = np.ogrid[tuple(map(slice, size))]
    for z, y, x, diameter in nodules:
        center = (np.array([z, y, x]) + 0.5) / STRIDE - 0.5  # in cells
        cell = np.round(center).astype(int)
        if (cell < 0).any() or (cell >= size).any():
            continue
        sigma = max(0.8, diameter / STRIDE / 6)
        squared = sum((axis - c) ** 2 for axis, c in zip(axes, center, strict=True))
        heat = np.exp(-squared / (2 * sigma**2))
        heat[tuple(cell)] = 1
        np.maximum(result[0], heat, out=result[0])
        window = tuple(slice(max(c - 1, 0), c + 2) for c in cell)
        result[1][window] = np.log(diameter / UNIT_MM)
        for axis in range(3):
            offset = center[axis] - axes[axis]
            result[2 + axis][window] = np.broadcast_to(offset, size)[window]
        result[5][window] = 1
    return result
