"""Scans of generated chests with the shapes of real nodules.

The shapes, sizes and ratings of the nodules are LIDC-IDRI's (`nodule_shapes`); their
densities follow their rated texture, and everything around them is generated. Every figure
from these scans is a figure of phantoms.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from .chest import SHAPE, Chest, chest, noise, place
from .nodule_shapes import VOXEL_MM, NoduleShapes, nodule_shapes
from .trees import tube

# texture as rated, 1 ground glass to 5 solid → mean and deviation of HU
DENSITY = {1: (-620, 70), 2: (-480, 80), 3: (-250, 100), 4: (-60, 60), 5: (20, 40)}
CHANGED_HU, CHANGED = 100, 0.5  # of a nodule's voxels: else nobody could see it
LUMEN_HU, LUMEN = -970, 0.02  # of its voxels at most were the inside of an airway
PLEURAL, FED = 0.3, 0.35  # of the nodules touch the pleura; have a vessel of their own
APART_MM = 4
TRIES = 200


@dataclass(frozen=True)
class Scanner:
    """How a chest is scanned.

    Attributes:
        slice_mm: the distance between slices.
        thickness_mm: over how much of z a slice averages.
        blur_mm: the standard deviation of the blur within a slice (the kernel).
        noise_hu: the range of the noise's standard deviation.
        grain_mm: the standard deviation of the blur of the noise.
        vessels: the density of vessels of the patients, relative to the usual one.
    """

    slice_mm: float
    thickness_mm: float
    blur_mm: float
    noise_hu: tuple[float, float]
    grain_mm: float
    vessels: float = 1.0


HOME = Scanner(1.0, 1.25, 0.55, (15, 45), 0.6)
"""The scanner of the training, validation and test scans."""

ELSEWHERE = Scanner(2.0, 2.5, 0.9, (30, 60), 1.0, vessels=1.4)
"""Another hospital's: thicker slices, a softer kernel, more noise, more vessels."""


@dataclass(frozen=True)
class Nodule:
    """A nodule in a scan.

    Attributes:
        center_mm: its center (z, y, x), from the center of the first voxel.
        diameter_mm: the mean of its readers' diameters.
        texture: the readers' median rating, 1 ground glass to 5 solid.
        pleural: whether it touches the pleura.
        shape: its index in `nodule_shapes()`.
    """

    center_mm: tuple[float, float, float]
    diameter_mm: float
    texture: float
    pleural: bool
    shape: int


@dataclass(frozen=True, eq=False)
class Scan:
    """A scan of a phantom.

    Attributes:
        hu: Hounsfield units, int16 of shape `[Z, Y, X]`.
        spacing_mm: the distances between voxels along Z, Y and X.
        specks: small round spots of less than 3 mm, (z, y, x, diameter) in mm, which no
            reader would report and a detector is not judged by.
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    nodules: tuple[Nodule, ...]
    specks: np.ndarray


def scan(
    seed: int | tuple[int, ...], shapes: list[int], scanner: Scanner = HOME
) -> Scan:
    """Generate a scan with these nodules; the same seed gives the same scan.

    Args:
        shapes: indices in `nodule_shapes()`. One for which no place is found where it
            would be visible is left out.
    """
    rng = np.random.default_rng(seed)
    body = chest(rng, scanner.vessels)
    bank, nodules = nodule_shapes(), list[Nodule]()
    for shape in shapes:
        nodule = _insert(rng, body, bank, shape, nodules)
        if nodule is not None:
            nodules.append(nodule)
    specks = _specks(rng, body, nodules)
    hu = _scanned(rng, body.hu, scanner)
    return Scan(hu, (scanner.slice_mm, 1.0, 1.0), tuple(nodules), specks)


def _insert(
    rng: np.random.Generator,
    body: Chest,
    bank: NoduleShapes,
    shape: int,
    others: list[Nodule],
) -> Nodule | None:
    """Put a nodule where it is visible and away from others, and return it."""
    row = bank.table.iloc[shape]
    diameter, texture = float(row["diameter_mm"]), float(row["texture"])
    weight = _turned(rng, bank.mask(shape))
    pleural = bool(rng.random() < PLEURAL)
    for _ in range(TRIES):
        reach = (0.0, diameter / 2) if pleural else (diameter / 2 + 1, np.inf)
        try_at = np.round(place(rng, body.depth, *reach)).astype(int)
        low = try_at - np.array(weight.shape) // 2
        window = tuple(slice(a, a + n) for a, n in zip(low, weight.shape, strict=True))
        if (low < 0).any() or (low + weight.shape > SHAPE).any():
            continue
        center = low + np.argwhere(weight > 0.5).mean(0)
        if any(_crowded(center, diameter, other) for other in others):
            continue
        before = body.hu[window]
        if (before[weight > 0.5] < LUMEN_HU).mean() > LUMEN:
            continue
        density = _density(rng, weight, texture, float(row["calcification"]))
        after = np.where(density > before, before + weight * (density - before), before)
        if ((after - before)[weight > 0.5] > CHANGED_HU).mean() < CHANGED:
            continue
        body.hu[window] = after
        if rng.random() < FED:
            hilum = min(body.hila, key=lambda h: float(np.linalg.norm(h - center)))
            along = (hilum - center) / np.linalg.norm(hilum - center)
            end = center + along * (diameter / 2 + rng.uniform(4, 14))
            tube(body.hu, center + along * diameter / 2, end, rng.uniform(0.6, 1.4), 30)
        z, y, x = center
        return Nodule((z, y, x), diameter, texture, pleural, shape)
    return None


def _turned(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Return a shape's weights in voxels of 1 mm, turned and mirrored at random."""
    if rng.random() < 0.7:
        mask = mask.transpose(rng.permutation(3))
    for axis in range(3):
        if rng.random() < 0.5:
            mask = np.flip(mask, axis)
    return ndimage.zoom(np.pad(mask, 3).astype(np.float32), VOXEL_MM, order=1)


def _density(
    rng: np.random.Generator, weight: np.ndarray, texture: float, calcification: float
) -> np.ndarray:
    """Return the HU of a nodule's voxels; a part-solid one has a solid core."""
    mean, deviation = DENSITY[round(texture)]
    level = rng.normal(mean, deviation)
    if calcification < 5.5:  # 6 is "absent"
        level = rng.uniform(200, 700)
    hu = level + 40 * noise(rng, weight.shape, 4)
    if 2 <= texture <= 3.5 and calcification >= 5.5:
        core = ndimage.gaussian_filter(weight, 1.5) > rng.uniform(0.7, 0.9)
        hu = np.where(core, rng.normal(0, 40), hu)
    return hu


def _crowded(center: np.ndarray, diameter: float, other: Nodule) -> bool:
    distance = np.linalg.norm(center - np.array(other.center_mm))
    return bool(distance < (diameter + other.diameter_mm) / 2 + APART_MM)


def _specks(rng: np.random.Generator, body: Chest, nodules: list[Nodule]) -> np.ndarray:
    specks = []
    for _ in range(rng.poisson(1.0)):
        center, diameter = place(rng, body.depth, 3, np.inf), rng.uniform(1.2, 2.6)
        if not any(_crowded(center, diameter, other) for other in nodules):
            tube(body.hu, center, center, diameter / 2, rng.uniform(0, 300))
            specks.append([*center, diameter])
    return np.array(specks, float).reshape(-1, 4)


def _scanned(rng: np.random.Generator, hu: np.ndarray, scanner: Scanner) -> np.ndarray:
    """Return the scan: blurred, sampled along z, with correlated noise."""
    along = scanner.thickness_mm / np.sqrt(12)  # deviation of a slice's box
    blurred = ndimage.gaussian_filter(
        hu, [along, scanner.blur_mm, scanner.blur_mm], truncate=3
    )
    if scanner.slice_mm != 1:
        at = np.arange(0, len(hu) - 1, scanner.slice_mm)
        low = at.astype(int)
        t = (at - low).astype(np.float32)[:, None, None]
        blurred = blurred[low] * (1 - t) + blurred[low + 1] * t
    grain = rng.standard_normal(blurred.shape, np.float32)
    grain = ndimage.gaussian_filter(
        grain, [0.3, scanner.grain_mm, scanner.grain_mm], truncate=3
    )
    blurred += grain * (rng.uniform(*scanner.noise_hu) / grain.std())
    return np.clip(np.round(blurred), -1024, 3071).astype(np.int16)
