"""Where the slices of a series are: their order, spacing and shear, and its repair.

A series fills an orthogonal grid if its slices are parallel, evenly spaced along their
normal, and not displaced sideways. Source: DICOM PS3.3 C.7.6.2 (image plane).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage

from .header import SeriesError, Slice
from .pixels import AIR, SliceDecoder

SAME_PLACE_MM = 0.01  # slices closer than this are at the same place
UNEVEN = 0.05  # of the spacing: how far a slice may be from its place in an even grid
UNEVEN_MM = (
    0.06  # the same for thin slices, whose positions are often rounded to 0.1 mm
)
# of pixels: from a field of view of 100 mm in 1024 pixels to one of 700 mm, the widest
# gantry, in 256. Values in cm are smaller, those in micrometers larger.
MIN_SPACING_MM, MAX_SPACING_MM = 0.095, 3.0
CLOSEST_MM = 0.1  # slices between which a gap is filled
MAX_POSITION_MM = 1e5
MAX_TILT = 35.0  # degrees
MAX_VOXELS = 2**31
MAX_GAP_MM = 10.0  # interpolating over more would invent anatomy


@dataclass(frozen=True, eq=False)
class Stack:
    """Parallel slices, sorted along their normal.

    Attributes:
        axes: `[3, 3]`; the unit vectors of the normal, of a column and of a row.
        pixel_mm: the distances between the pixels of a column and of a row.
        points: `[N, 3]`; the position of each slice's first pixel in mm.
    """

    slices: Sequence[Slice]
    axes: np.ndarray
    pixel_mm: tuple[float, float]
    points: np.ndarray

    @property
    def heights(self) -> np.ndarray:
        """The positions along the normal in mm, of shape `[N]`."""
        return self.points @ self.axes[0]

    @property
    def spacing_mm(self) -> float:
        """The distance between neighbors along the normal, by least squares."""
        return float(np.polyfit(np.arange(len(self.points)), self.heights, 1)[0])

    @property
    def sideways(self) -> np.ndarray:
        """How far each slice is displaced from the first within its plane, `[N, 2]` mm."""
        return (self.points - self.points[0]) @ self.axes[1:].T

    def select(self, index: Sequence[int]) -> "Stack":
        """Return some of the slices."""
        slices = [self.slices[i] for i in index]
        return replace(self, slices=slices, points=self.points[list(index)])


def arrange(slices: Sequence[Slice]) -> Stack:
    """Sort slices along their normal.

    Raises:
        SeriesError: if positions, orientations or pixel spacings are missing, malformed or
            impossible, or if slices are not parallel or differ in their pixel spacing.
    """
    orientations = np.stack([s.numbers("ImageOrientationPatient", 6) for s in slices])
    spacings = np.stack([s.numbers("PixelSpacing", 2) for s in slices])
    points = np.stack([s.numbers("ImagePositionPatient", 3) for s in slices])
    _check_constant(slices, orientations, "ImageOrientationPatient", 1e-3)
    _check_constant(slices, spacings, "PixelSpacing", 1e-4)
    check_spacing(f"{slices[0].name}: PixelSpacing", spacings[0])
    if np.abs(points).max() > MAX_POSITION_MM:
        raise SeriesError(
            f"{slices[0].name}: ImagePositionPatient is impossibly large."
        )
    row, column = orientations[0, :3], orientations[0, 3:]
    lengths = np.array([row @ row, column @ column])
    if np.abs(lengths - 1).max() > 2e-3 or abs(row @ column) > 1e-3:
        raise SeriesError(
            f"{slices[0].name}: ImageOrientationPatient must be two perpendicular unit "
            f"vectors; got {orientations[0].tolist()}."
        )
    row, column = row / np.sqrt(lengths[0]), column / np.sqrt(lengths[1])
    axes = np.stack([np.cross(row, column), column, row])
    order = np.argsort(points @ axes[0], kind="stable")
    pixel_mm = float(spacings[0, 0]), float(spacings[0, 1])
    return Stack([slices[i] for i in order], axes, pixel_mm, points[order])


def check_spacing(name: str, spacing: np.ndarray) -> None:
    """Refuse pixels of a size that no CT of a chest has.

    Raises:
        SeriesError: if a distance between pixels, in mm, is too small or too large.
    """
    if (spacing < MIN_SPACING_MM).any() or (spacing > MAX_SPACING_MM).any():
        raise SeriesError(
            f"{name} must be from {MIN_SPACING_MM} to {MAX_SPACING_MM:g} mm in a CT of a "
            f"chest; got {spacing.tolist()}, perhaps in another unit."
        )


def _check_constant(
    slices: Sequence[Slice], values: np.ndarray, name: str, tolerance: float
) -> None:
    typical = np.median(values, axis=0)
    different = np.abs(values - typical).max(1) > tolerance
    if different.any():
        first = int(different.argmax())
        raise SeriesError(
            f"{name} differs between slices: {slices[first].name} has "
            f"{values[first].tolist()}, most have {typical.tolist()}."
        )


def without_duplicates(stack: Stack, decoder: SliceDecoder) -> tuple[Stack, list[str]]:
    """Return the stack with one of identical slices, and a remark on those left out.

    Raises:
        SeriesError: if different slices are at the same place.
    """
    index, duplicates = [0], []
    for i in range(1, len(stack.slices)):
        last = index[-1]
        if stack.heights[i] - stack.heights[last] >= SAME_PLACE_MM:
            index.append(i)
            continue
        a, b = stack.slices[last], stack.slices[i]
        same_place = np.abs(stack.points[i] - stack.points[last]).max() < SAME_PLACE_MM
        if not same_place or not np.array_equal(decoder.hu(a), decoder.hu(b)):
            raise SeriesError(
                f"{a.name} and {b.name} are different slices at the same place "
                f"({stack.heights[i]:.2f} mm): the series holds several acquisitions, "
                f"phases or reconstructions."
            )
        duplicates.append(b.name)
    if not duplicates:
        return stack, []
    first = ", ".join(duplicates[:3])
    return stack.select(index), [
        f"Duplicates of slices were left out: {len(duplicates)}, such as {first}."
    ]


def unevenness(stack: Stack) -> str:
    """Return what is wrong with the spacing of the slices, "" if they are evenly spaced."""
    heights, number = stack.heights, np.arange(len(stack.points))
    spacing, first = np.polyfit(number, heights, 1)
    off = np.abs(heights - first - spacing * number).max()
    if off <= min(max(UNEVEN * spacing, UNEVEN_MM), 0.25 * spacing):
        return ""
    gaps = np.diff(heights)
    typical = float(np.median(gaps))
    widest = int(gaps.argmax())
    return (
        f"slices are unevenly spaced, {gaps.min():.3f} to {gaps.max():.3f} mm (median "
        f"{typical:.3f} mm); the widest gap is between {stack.slices[widest].name} and "
        f"{stack.slices[widest + 1].name}"
    )


def shear(stack: Stack) -> float:
    """Return the gantry tilt in degrees, 0 if the slices lie above each other.

    Displacements of less than half a pixel are ignored.

    Raises:
        SeriesError: if the slices are displaced sideways, but not along a line, or if
            they lean more than a gantry can.
    """
    rise, sideways = stack.heights - stack.heights[0], stack.sideways
    slope = sideways.T @ rise / (rise @ rise)  # least squares through the first slice
    half_pixel = 0.5 * np.array(stack.pixel_mm)
    if (np.abs(sideways - np.outer(rise, slope)) > half_pixel).any():
        off = np.abs(sideways - np.outer(rise, slope)).max()
        raise SeriesError(
            f"The slices do not lie on a line: some are displaced sideways by up to "
            f"{off:.1f} mm."
        )
    if (np.abs(sideways) <= half_pixel).all():
        return 0.0
    angle = float(np.degrees(np.arctan(np.linalg.norm(slope))))
    if angle > MAX_TILT:
        raise SeriesError(
            f"The slices lean by {angle:.0f} degrees; a gantry leans by at most "
            f"{MAX_TILT:g}."
        )
    return angle


def straighten(stack: Stack, hu: np.ndarray) -> tuple[Stack, np.ndarray]:
    """Shift the slices of a tilted series so that they lie above each other.

    Each slice is resampled linearly within its plane. The images grow so that nothing is
    cut off; what was not scanned is -1024 HU.
    """
    shifts = stack.sideways / np.array(stack.pixel_mm)  # [N, 2] pixels along Y and X
    low = np.floor(shifts.min(0)).astype(int)
    high = np.ceil(shifts.max(0)).astype(int)
    margins = [(-low[axis], high[axis]) for axis in (0, 1)]
    height, width = (hu.shape[axis + 1] + sum(margins[axis]) for axis in (0, 1))
    check_size(len(hu), int(height), int(width))
    grown = np.pad(hu, [(0, 0), *margins], constant_values=AIR)
    straight = np.stack(
        [
            ndimage.shift(image, shift, order=1, mode="constant", cval=AIR)
            for image, shift in zip(grown, shifts, strict=True)
        ]
    )
    first = stack.points[0] + (low * np.array(stack.pixel_mm)) @ stack.axes[1:]
    rise = stack.heights - stack.heights[0]
    points = first + np.outer(rise, stack.axes[0])
    return replace(stack, points=points), straight


def fill_gaps(stack: Stack, hu: np.ndarray) -> tuple[np.ndarray, float]:
    """Interpolate linearly along the normal onto evenly spaced slices.

    The new spacing is the smallest one of the series. If all others are multiples of it,
    every slice stays as it is and the missing ones are added. The new grid does not reach
    beyond the last slice.

    Returns:
        The new HU and the new spacing in mm.

    Raises:
        SeriesError: if a gap is too wide to be filled, or the slices are too close.
    """
    gaps = np.diff(stack.heights)
    if gaps.max() > MAX_GAP_MM:
        raise SeriesError(
            f"A gap of {gaps.max():.1f} mm is too wide to be filled; at most "
            f"{MAX_GAP_MM:g} mm are interpolated."
        )
    spacing = float(np.median(gaps[gaps <= 1.25 * gaps.min()]))
    if spacing < CLOSEST_MM:
        raise SeriesError(
            f"Slices that are {spacing:.3f} mm apart are too close to fill gaps between "
            f"others."
        )
    rise = np.append(0, np.cumsum(gaps))
    number = np.append(0, np.cumsum(np.round(gaps / spacing)))  # in the new grid
    even = float(rise[-1] / number[-1])
    if np.abs(rise - number * even).max() <= max(2 * UNEVEN_MM, UNEVEN * even):
        spacing = even
    else:
        number = rise / spacing
    at = np.arange(int(number[-1] + 1e-6) + 1)  # [M]
    check_size(len(at), *hu.shape[1:])
    below = np.clip(np.searchsorted(number, at, "right") - 1, 0, len(number) - 2)
    t = (at - number[below]) / (number[below + 1] - number[below])
    weight = t[:, None, None].astype(np.float32)
    return hu[below] * (1 - weight) + hu[below + 1] * weight, spacing


def check_size(slices: int, rows: int, columns: int) -> None:
    """Refuse a volume that would not fit into memory.

    Raises:
        SeriesError: if it has more than 2**31 voxels.
    """
    if slices * rows * columns > MAX_VOXELS:
        raise SeriesError(
            f"The volume would have {slices} x {rows} x {columns} voxels; at most "
            f"{MAX_VOXELS:,} are accepted."
        )
