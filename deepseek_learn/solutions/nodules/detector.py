"""Find nodules in a whole scan: lungs, tiles, network, peaks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from ...bar import Bar
from ...training.precision import autocast_dtype, mixed_precision
from ...zoo.nets.nodule_net import STRIDE, UNIT, UNIT_MM
from ..phantoms.scans import gray
from ..verdicts import RefusedError
from .finding import Finding
from .volume import Volume

AIR_HU = -500
IN_SLICES = ndimage.generate_binary_structure(3, 1) & np.array([0, 1, 0])[:, None, None]
COARSE = 4  # mm; the resolution of the lung mask
LUNGS_MM3 = 300_000  # less air than this is no pair of lungs
TILE, OVERLAP = 144, 24  # mm
MIN_SCORE, MOST = 0.02, 100  # of the marks per scan
APART_MM = 4.0
SIZES_MM = (2.0, 40.0)  # possible diameters


class NoLungsError(RefusedError):
    """Raised if a scan does not show lungs."""


@dataclass(frozen=True, eq=False)
class Marks:
    """What the network marks in a scan.

    Attributes:
        scores: from 0 to 1, decreasing, `[N]`.
        centers_mm: (z, y, x) from the first voxel of the volume, along its axes, `[N, 3]`.
        diameters_mm: `[N]`.
    """

    scores: np.ndarray
    centers_mm: np.ndarray
    diameters_mm: np.ndarray

    def table(self) -> np.ndarray:
        """Return (score, z, y, x), of shape `[N, 4]`, for `measure.judge`."""
        return np.column_stack([self.scores, self.centers_mm])


def mark(
    model: nn.Module,
    hu: np.ndarray,
    spacing_mm: Sequence[float],
    *,
    bf16: bool = True,
    progress: bool = False,
) -> Marks:
    """Mark the nodules in a volume whose axes run to the head, the back and the left.

    Args:
        model: a `NoduleNet`, in evaluation mode.
        hu: Hounsfield units of shape `[Z, Y, X]`.
        bf16: whether to compute in bfloat16 where the processor has it.

    Raises:
        NoLungsError: if there are no lungs in the volume.
    """
    volume = resampled(hu, spacing_mm)  # [D, H, W], 1 mm
    last = np.array(volume.shape) - 1.0
    lungs = lung_mask(volume)
    x = torch.from_numpy(gray(volume))
    del volume  # is four times as large
    heads = _heads(model, x, lungs, bf16, progress)  # [5, D/2, H/2, W/2]
    fine = np.kron(lungs, np.ones((COARSE // STRIDE,) * 3, bool))
    margin = [(0, n - m) for n, m in zip(heads.shape[1:], fine.shape, strict=True)]
    marks = peaks(heads, torch.from_numpy(np.pad(fine, margin, mode="edge")))
    # a cell may lie in the padding, an offset may point out of the volume
    return replace(marks, centers_mm=np.clip(marks.centers_mm, 0, last))


def resampled(hu: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Interpolate a volume linearly to voxels of 1 mm; the first voxel stays in place.

    Axes with finer voxels are smoothed first, so that noise does not alias.
    """
    x = np.asarray(hu, np.float32)
    sigma = [0.5 * max(0.0, 1 / spacing - 1) for spacing in spacing_mm]
    if any(sigma):
        x = ndimage.gaussian_filter(x, sigma, truncate=2.5)
    for axis, spacing in enumerate(spacing_mm):
        if abs(spacing - 1) < 1e-3:
            continue
        at = np.arange(0, (x.shape[axis] - 1) * spacing + 1e-6) / spacing
        low = np.minimum(at.astype(int), x.shape[axis] - 2)
        shape = [-1 if a == axis else 1 for a in range(3)]
        t = (at - low).astype(np.float32).reshape(shape)
        x = x.take(low, axis) * (1 - t) + x.take(low + 1, axis) * t
    return x


def lung_mask(volume: np.ndarray) -> np.ndarray:
    """Return where to look for nodules: the lungs and 12 mm around them, on a 4-mm grid.

    Lungs are air that does not touch the border of a slice; the airways and what lies in
    folds of the lung belong to them.

    Args:
        volume: HU of voxels of 1 mm, `[D, H, W]`.

    Raises:
        NoLungsError: if there is too little such air.
    """
    size = [n - n % COARSE for n in volume.shape]
    blocks = volume[: size[0], : size[1], : size[2]]
    shape = [part for n in size for part in (n // COARSE, COARSE)]
    coarse = blocks.reshape(shape).mean((1, 3, 5))
    air = coarse < AIR_HU
    labels, _ = ndimage.label(air, IN_SLICES)
    sides = np.ones_like(air)
    sides[:, 1:-1, 1:-1] = False
    outside = np.unique(labels[sides])
    lungs = air & ~np.isin(labels, outside)
    lungs = ndimage.binary_opening(lungs)
    if lungs.sum() * COARSE**3 < LUNGS_MM3:
        raise NoLungsError(
            "The scan shows no lungs: there is hardly any air that is enclosed by the body."
        )
    ball = ndimage.generate_binary_structure(3, 1)
    closed = ndimage.binary_closing(np.pad(lungs, 6), ball, iterations=5)
    closed = closed[6:-6, 6:-6, 6:-6]
    return ndimage.binary_dilation(closed | lungs, ball, iterations=3)


def _heads(
    model: nn.Module, x: Tensor, lungs: np.ndarray, bf16: bool, progress: bool
) -> Tensor:
    """Return the network's output for gray values (uint8), computed tile by tile."""
    padded = F.pad(x, [p for n in reversed(x.shape) for p in (0, -n % UNIT)])
    result = torch.full((5, *(n // STRIDE for n in padded.shape)), -20.0)
    dtype = autocast_dtype("auto" if bf16 else None, model)
    tiles = [*_tiles(padded.shape, lungs)]
    with Bar(len(tiles), progress, "nodules") as bar, torch.inference_mode():
        for window, core in tiles:
            part = padded[window][None, None].float().div_(255)
            with mixed_precision(part.device, dtype):
                out = model(part)[0].float()  # [5, d/2, h/2, w/2]
            target = tuple(slice(c.start // STRIDE, c.stop // STRIDE) for c in core)
            source = tuple(
                slice((c.start - w.start) // STRIDE, (c.stop - w.start) // STRIDE)
                for c, w in zip(core, window, strict=True)
            )
            result[(slice(None), *target)] = out[(slice(None), *source)]
            bar.advance(1)
    return result


def _tiles(
    shape: Sequence[int], lungs: np.ndarray
) -> Iterator[tuple[tuple[slice, ...], tuple[slice, ...]]]:
    """Yield windows that cover the lungs, and of each the part that is not at its edge."""
    boxes = ndimage.find_objects(lungs.astype(int))[0]
    axes = [
        [*_spans(box.start * COARSE, min(box.stop * COARSE, n), n)]
        for box, n in zip(boxes, shape, strict=True)
    ]
    for spans in product(*axes):
        window, core = zip(*spans, strict=True)
        covered = tuple(slice(c.start // COARSE, -(-c.stop // COARSE)) for c in core)
        if lungs[covered].any():
            yield window, core


def _spans(first: int, last: int, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield windows of up to about 160 voxels and their cores, which cover first to last.

    The windows are as short as possible, multiples of 8, and overlap by 24 voxels.
    """
    length = last - first
    count = max(1, -(-(length - OVERLAP) // (TILE - OVERLAP)))
    core = -(-length // count)
    for index in range(count):
        a, b = first + index * core, min(first + (index + 1) * core, last)
        a, b = a - a % STRIDE, b + b % STRIDE
        low = max(0, (a - OVERLAP // 2) // UNIT * UNIT)
        high = min(size, -(-(b + OVERLAP // 2) // UNIT) * UNIT)
        yield slice(low, high), slice(a, min(b, size))


def peaks(heads: Tensor, inside: Tensor) -> Marks:
    """Return the local maxima of the heat map, of which none is within another.

    Args:
        heads: the network's output, `[5, D/2, H/2, W/2]`.
        inside: where to look, `[D/2, H/2, W/2]`.
    """
    score = heads[0].sigmoid()
    highest = F.max_pool3d(score[None], 3, stride=1, padding=1)[0]
    where = ((score == highest) & (score > MIN_SCORE) & inside).nonzero()  # [K, 3]
    values = score[tuple(where.T)]
    order = values.argsort(descending=True, stable=True)
    cells, scores = where[order].numpy(), values[order].numpy()
    log_diameter, *offsets = heads[1:, cells[:, 0], cells[:, 1], cells[:, 2]].numpy()
    centers = (cells + np.stack(offsets, -1) + 0.5) * STRIDE - 0.5  # mm
    diameters = np.clip(UNIT_MM * np.exp(log_diameter), *SIZES_MM)
    chosen: list[int] = []
    for i in range(len(scores)):
        near = np.linalg.norm(centers[chosen] - centers[i], axis=1)
        reach = np.maximum(APART_MM, np.maximum(diameters[chosen], diameters[i]) / 2)
        if (near >= reach).all():
            chosen.append(i)
        if len(chosen) == MOST:
            break
    return Marks(scores[chosen], centers[chosen], diameters[chosen])


def canonical(volume: Volume) -> Volume:
    """Return the volume with its axes running to the head, the back and the left.

    Axes are swapped and reversed, never interpolated, so an oblique volume stays so.
    """
    goals = np.array(
        [[0, 0, 1.0], [0, 1, 0], [1, 0, 0]]
    )  # (x, y, z) of head, back, left
    match = np.abs(volume.directions @ goals.T)  # [axis, goal]
    order = [0, 0, 0]
    for _ in range(3):
        axis, goal = np.unravel_index(match.argmax(), match.shape)
        order[goal] = int(axis)
        match[axis], match[:, goal] = -1, -1
    hu = volume.hu.transpose(order)
    directions = volume.directions[order].copy()
    spacing = [volume.spacing_mm[axis] for axis in order]
    origin = np.array(volume.origin_mm)
    for axis in range(3):
        if directions[axis] @ goals[axis] < 0:
            origin = origin + directions[axis] * spacing[axis] * (hu.shape[axis] - 1)
            hu, directions[axis] = np.flip(hu, axis), -directions[axis]
    return Volume(
        hu,
        (spacing[0], spacing[1], spacing[2]),
        (float(origin[0]), float(origin[1]), float(origin[2])),
        directions,
        volume.series_uid,
        volume.warnings,
    )


def find(model: nn.Module, volume: Volume, progress: bool = True) -> list[Finding]:
    """Find nodules in a volume; scores stand for probabilities.

    Raises:
        NoLungsError: if there are no lungs in the volume.
    """
    upright = canonical(volume)
    marks = mark(model, upright.hu, upright.spacing_mm, progress=progress)
    points = upright.to_mm(marks.centers_mm / np.array(upright.spacing_mm))
    return [
        Finding((float(p[0]), float(p[1]), float(p[2])), float(d), float(s))
        for p, d, s in zip(points, marks.diameters_mm, marks.scores, strict=True)
    ]
