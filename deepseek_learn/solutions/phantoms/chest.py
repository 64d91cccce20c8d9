"""A generated chest without nodules: what a CT scan of it would contain, in HU.

All lengths are in millimeters and all points are (z, y, x): z from the feet to the head, y
from the front to the back, x from the patient's right to the left. Sizes and densities are
roughly those of an adult, and every chest is different. It is a phantom: it has the
structures that detectors confuse with nodules (vessels, branching bronchi, fissures, ribs,
scars), but it is no patient.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F

from .trees import branches, deep, tube, unit

SHAPE = (280, 224, 304)  # voxels of 1 mm
FAT, MUSCLE, BLOOD, AIR = -100.0, 45.0, 45.0, -1000.0  # HU
BONE, MARROW = 550.0, 180.0
UP = np.array([1.0, 0, 0])
WALL = 11.0  # mm of muscle between the fat and the lung
TRUNK = 30.0  # mm of a vessel before its first branch, toward the heart


@dataclass(frozen=True, eq=False)
class Chest:
    """A chest before it is scanned.

    Attributes:
        hu: Hounsfield units, float32 of shape `SHAPE`.
        depth: how deep a voxel is in a lung in mm, negative outside of the lungs.
        hila: where vessels and bronchi enter the right and the left lung.
    """

    hu: np.ndarray
    depth: np.ndarray
    hila: tuple[np.ndarray, np.ndarray]


def chest(rng: np.random.Generator, vessels: float = 1.0) -> Chest:
    """Generate a chest.

    Args:
        vessels: the density of vessels, relative to the usual one.
    """
    z, y, x = (axis.astype(np.float32) for axis in np.ogrid[tuple(map(slice, SHAPE))])
    middle = np.array([140.0, 112 + rng.uniform(-4, 4), 152 + rng.uniform(-4, 4)])
    size = rng.uniform(0.9, 1.05)
    heart = middle + size * np.array([-45 + rng.uniform(-8, 8), -18, 22])
    hu, wall = _body(rng, (z, y, x), middle, size)
    _bones(rng, hu, middle, size)
    depth = np.full(SHAPE, -100, np.float32)
    half = round(middle[2])
    sides = (np.s_[:, :, :half], np.s_[:, :, half:])  # right and left
    grids = ((z, y, x[:, :, :half]), (z, y, x[:, :, half:]))
    for side, part, grid in zip((-1, 1), sides, grids, strict=True):
        own = np.broadcast_to(wall, SHAPE)[part]
        depth[part] = np.minimum(_lung(rng, grid, middle, heart, side, size), own)
        _aerate(rng, hu[part], depth[part], grid)
    carina = middle + size * np.array([rng.uniform(25, 45), 6, 0])
    hila = tuple(
        middle + size * np.array([rng.uniform(0, 15), 4, side * rng.uniform(32, 40)])
        for side in (-1, 1)
    )
    for side, part, grid, hilum in zip((-1, 1), sides, grids, hila, strict=True):
        _fissures(rng, hu[part], depth[part], grid, hilum, side)
        _vessels(rng, hu, depth, hilum, side, vessels)
        _bronchi(rng, hu, depth, hilum, side)
        _scars(rng, hu, depth)
    _airway(rng, hu, carina, hila)
    return Chest(hu, depth, (hila[0], hila[1]))


def noise(
    rng: np.random.Generator, shape: Sequence[int], scale_mm: float, octaves: int = 3
) -> np.ndarray:
    """Return smooth random values with a standard deviation of 1.

    Coarse random grids are interpolated linearly and added: each octave has half the
    scale and half the amplitude of the one before.
    """
    total = torch.zeros(*shape)
    for octave in range(octaves):
        spacing = scale_mm / 2**octave
        size = [max(2, int(np.ceil(n / spacing)) + 2) for n in shape]
        grid = torch.from_numpy(rng.standard_normal(size, np.float32))[None, None]
        fine = F.interpolate(grid, tuple(shape), mode="trilinear", align_corners=True)
        total += fine[0, 0] / 2**octave
    return (total / total.std().clamp_min(1e-6)).numpy()


def _lung(
    rng: np.random.Generator,
    grid: tuple[np.ndarray, ...],
    middle: np.ndarray,
    heart: np.ndarray,
    side: int,
    size: float,
) -> np.ndarray:
    """Return how deep each voxel is in one lung, in mm.

    An ellipsoid, cut by the dome of the diaphragm, by the mediastinum and by the heart.
    """
    z, y, x = grid
    center = middle + size * np.array([-25.0, 0, side * 62])
    axes = size * np.array([150.0, 84, 62]) * rng.uniform(0.95, 1.05, 3)
    depth = (1 - _radius(grid, center, axes)) * np.float32(axes.min())
    top = center[0] - size * rng.uniform(50, 70)  # of the diaphragm's dome
    dome = top - 45 * ((y - center[1]) / 90) ** 2 - 45 * ((x - center[2]) / 70) ** 2
    np.minimum(depth, 0.8 * (z - dome), out=depth)
    medial = 22 + 10 * ((y - middle[1]) / 60)  # the mediastinum is wider at the back
    np.minimum(depth, side * (x - middle[2]) - size * medial, out=depth)
    outside = (_radius(grid, heart, size * np.array([48.0, 45, 52])) - 1) * 45
    np.minimum(depth, outside, out=depth)
    depth += 1.2 * noise(
        rng, depth.shape, 40, octaves=1
    )  # smooth: no bumps, no islands
    return depth


def _radius(
    grid: tuple[np.ndarray, ...], center: np.ndarray, axes: np.ndarray
) -> np.ndarray:
    """Return the distance from an ellipsoid's center; 1 on its surface."""
    z, y, x = (
        ((axis - np.float32(c)) / np.float32(a)) ** 2
        for axis, c, a in zip(grid, center, axes, strict=True)
    )
    squared = (z + y) + x
    return np.sqrt(squared, out=squared)


def _aerate(
    rng: np.random.Generator,
    hu: np.ndarray,
    depth: np.ndarray,
    grid: tuple[np.ndarray, ...],
) -> None:
    """Fill a lung with parenchyma."""
    parenchyma = noise(rng, hu.shape, 8)
    parenchyma *= 22
    parenchyma += rng.uniform(-880, -810)
    parenchyma += (grid[1] / SHAPE[1] - 0.5) * np.float32(rng.uniform(0, 60))  # gravity
    parenchyma -= hu
    parenchyma *= np.clip(depth * np.float32(1 / 1.2) + np.float32(0.5), 0, 1)
    hu += parenchyma


def _body(
    rng: np.random.Generator,
    grid: tuple[np.ndarray, ...],
    middle: np.ndarray,
    size: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Return muscle under a layer of fat, surrounded by air, on a couch.

    Returns:
        Hounsfield units, and how deep behind the chest wall a voxel is, `[1, Y, X]`.
    """
    _, y, x = grid
    axes = size * np.array([104.0, 146]) + rng.uniform(-4, 2)
    radius = np.sqrt(
        ((y - middle[1]) / axes[0]) ** 2 + ((x - middle[2]) / axes[1]) ** 2
    )
    depth = (1 - radius) * axes[0]  # [1, Y, X]
    fat = rng.uniform(4, 14)
    layer = np.where(depth < fat, FAT, MUSCLE)
    layer = np.where(depth < 0, AIR, layer)
    couch = np.abs(y - (middle[1] + axes[0] + 5)) < 2
    layer = np.where(couch & (np.abs(x - middle[2]) < 130), -300.0, layer)
    tissue = noise(rng, SHAPE, 8, octaves=1)
    tissue *= np.where(layer > -200, 9, 0).astype(np.float32)
    tissue += layer.astype(np.float32)
    return tissue, (depth - fat - WALL).astype(np.float32)


def _bones(
    rng: np.random.Generator, hu: np.ndarray, middle: np.ndarray, size: float
) -> None:
    spine = middle + size * np.array([0.0, 80, 0])
    for height in np.arange(0, SHAPE[0], 26.0):  # vertebrae and the discs between them
        low = np.array([height, spine[1], spine[2]])
        high = low + 20 * UP
        tube(hu, low, high, 15, BONE * 0.6)
        tube(hu, low + UP * 2, high - UP * 2, 13, MARROW, replace=True)
    front = middle + size * np.array([10.0, -90, 0])
    tube(hu, front, front + 90 * UP, 7, 250)
    angles = np.linspace(0.25, 2.6, 18)
    for rib in range(12):
        base = 20 + rib * 24 + rng.uniform(-3, 3)
        for side in (-1, 1):
            points = np.stack(
                [
                    base - 16 * angles,  # ribs slope down to the front
                    middle[1] + size * 90 * np.cos(angles),
                    middle[2] + side * size * 131 * np.sin(angles),
                ],
                axis=1,
            )
            for a, b in pairwise(points):
                tube(hu, a, b, 4.4, BONE)
                tube(hu, a, b, 2.6, MARROW, replace=True)


def _vessels(
    rng: np.random.Generator,
    hu: np.ndarray,
    depth: np.ndarray,
    hilum: np.ndarray,
    side: int,
    density: float,
) -> None:
    for _ in range(round(density * rng.integers(11, 15))):
        direction = np.array([rng.normal(0, 0.9), rng.normal(0, 0.8), side * 0.7])
        start = hilum + rng.normal(0, 7, 3)
        radius = rng.uniform(2.2, 4.2)
        tube(hu, start, start - np.array([0, 0, side * TRUNK]), radius, BLOOD)
        tree = branches(rng, start, unit(direction), radius, 10, depth)
        for a, b, radius in tree:
            tube(hu, a, b, radius, BLOOD)


def _bronchi(
    rng: np.random.Generator,
    hu: np.ndarray,
    depth: np.ndarray,
    hilum: np.ndarray,
    side: int,
) -> None:
    """Paint tubes with walls; where they are cut across, they look like rings."""
    for _ in range(3):
        direction = np.array([rng.normal(0, 0.8), rng.normal(0, 0.6), side * 0.8])
        start = hilum + rng.normal(0, 4, 3)
        tree = [*branches(rng, start, unit(direction), rng.uniform(3, 4.4), 5, depth)]
        for a, b, radius in tree:
            tube(hu, a, b, radius + 0.9, 20)
        for a, b, radius in tree:
            tube(hu, a, b, max(radius - 0.3, 0.3), AIR + 15, replace=True)


def _airway(
    rng: np.random.Generator,
    hu: np.ndarray,
    carina: np.ndarray,
    hila: Sequence[np.ndarray],
) -> None:
    """Paint the trachea and the two main bronchi."""
    top = np.array([SHAPE[0] + 5.0, carina[1] - 14, carina[2]])
    for wall, value in ((1.5, 30.0), (0.0, AIR + 5)):
        tube(hu, top, carina, 9 + wall, value, replace=True)
        for hilum in hila:
            tube(hu, carina, hilum, 6 + wall, value, replace=True)


def _fissures(
    rng: np.random.Generator,
    hu: np.ndarray,
    depth: np.ndarray,
    grid: tuple[np.ndarray, ...],
    hilum: np.ndarray,
    side: int,
) -> None:
    """Paint the thin curved plates between the lobes: two in the right lung."""
    oblique, horizontal = np.array([0.7, 0.7, 0.0]), np.array([1.0, 0, 0.1])
    tilts = (oblique, horizontal) if side < 0 else (oblique,)
    for tilt in tilts:
        normal = unit(tilt + rng.normal(0, 0.08, 3))
        z, y, x = (
            np.float32(n) * (axis - np.float32(c))
            for n, axis, c in zip(normal, grid, hilum, strict=True)
        )
        plane = noise(rng, hu.shape, 50, octaves=1)
        plane *= 4
        plane += (z + y) + x
        near = (np.abs(plane) < 0.9) & (depth > 0)
        hu[near] += 400 * (0.9 - np.abs(plane[near])).clip(0, 0.6)


def _scars(rng: np.random.Generator, hu: np.ndarray, depth: np.ndarray) -> None:
    """Paint strands and plaques of the pleura: long or flat, so they are not nodules."""
    for _ in range(rng.poisson(1.2)):
        start = place(rng, depth, 4, 40)
        length, radius = rng.uniform(10, 25), rng.uniform(0.6, 1.5)
        ends = start + length * np.array([unit(rng.normal(0, 1, 3)) for _ in range(16)])
        end = next((each for each in ends if deep(each, depth) > 2), ends[0])
        tube(hu, start, end, radius, rng.uniform(-300, 30))
    for _ in range(rng.poisson(0.6)):
        center, radius = place(rng, depth, 0, 1), rng.uniform(12, 30)
        _plaque(hu, depth, center, radius, rng.uniform(1, 2.5), rng.uniform(0, 60))


def _plaque(
    hu: np.ndarray,
    depth: np.ndarray,
    center: np.ndarray,
    radius: float,
    thickness: float,
    value: float,
) -> None:
    """Thicken the pleura around a point; it is thickest in the middle."""
    low = np.maximum(np.floor(center - radius), 0).astype(int)
    window = tuple(
        slice(a, int(c + radius) + 1) for a, c in zip(low, center, strict=True)
    )
    own = depth[window]
    squared = sum(
        (axis + a - c) ** 2
        for axis, a, c in zip(
            np.ogrid[tuple(map(slice, own.shape))], low, center, strict=True
        )
    )
    surface = thickness * (1 - squared / radius**2)
    weight = np.clip(surface - own + 0.5, 0, 1) * (own > -1) * (surface > 0)
    hu[window] = np.maximum(hu[window], hu[window] + weight * (value - hu[window]))


def place(
    rng: np.random.Generator, depth: np.ndarray, low: float, high: float
) -> np.ndarray:
    """Return a random point that is between `low` and `high` mm deep in a lung."""
    while True:
        points = rng.uniform(0, np.array(SHAPE) - 1, (4096, 3))
        deep = depth[tuple(np.round(points).astype(int).T)]
        chosen = points[(deep > low) & (deep < high)]
        if len(chosen):
            return chosen[0]
