"""Traps: where the slices are, and how far apart."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from deepseek_learn.solutions.nodules.dicom.writing import change

from .trap import ORIGIN_MM, SPACING_MM, Truth, phantom, save, series, trap, write_raw

DZ = SPACING_MM[0]


def _without(folder: Path, *missing: int) -> list[Truth]:
    save([each for i, each in enumerate(series()) if i not in missing], folder)
    return []


def _heights(folder: Path, height: Callable[[int], float]) -> None:
    """Save slices at other heights, in mm above the first."""

    def position(index: int) -> list[str]:
        x, y, z = ORIGIN_MM
        return [f"{x:.10g}", f"{y:.10g}", f"{z + height(index):.10g}"]

    save(change(series(), ImagePositionPatient=position), folder)


@trap("one slice is missing", refused="unevenly spaced")
def slice_missing(folder: Path) -> list[Truth]:
    return _without(folder, 10)


@trap("three slices are missing", refused="unevenly spaced")
def three_slices_missing(folder: Path) -> list[Truth]:
    return _without(folder, 5, 6, 15)


@trap("the second slice is missing", refused="unevenly spaced")
def second_slice_missing(folder: Path) -> list[Truth]:
    return _without(folder, 1)


@trap(
    "a missing slice is to be filled in",
    warning="interpolated",
    gaps="interpolate",
)
def gap_filled(folder: Path) -> list[Truth]:
    _without(folder, 10)
    hu = phantom()
    hu[10] = (hu[9] + hu[11]) / 2
    return [Truth(hu)]


@trap(
    "two missing slices are to be filled in",
    warning="interpolated",
    gaps="interpolate",
)
def wide_gap_filled(folder: Path) -> list[Truth]:
    _without(folder, 10, 11)
    hu = phantom()
    hu[10] = (2 * hu[9] + hu[12]) / 3
    hu[11] = (hu[9] + 2 * hu[12]) / 3
    return [Truth(hu, tolerance_hu=1e-3)]


@trap(
    "12 mm are missing and are to be filled in", refused="too wide", gaps="interpolate"
)
def gap_too_wide(folder: Path) -> list[Truth]:
    return _without(folder, *range(8, 17))


@trap("the upper half has twice the spacing", refused="unevenly spaced")
def spacing_changes(folder: Path) -> list[Truth]:
    _heights(folder, lambda i: DZ * (i if i < 12 else 12 + 2 * (i - 12)))
    return []


@trap(
    "a change of the spacing is to be evened out",
    warning="interpolated",
    gaps="interpolate",
)
def spacing_changes_filled(folder: Path) -> list[Truth]:
    _heights(folder, lambda i: DZ * (i if i < 12 else 12 + 2 * (i - 12)))
    at = np.minimum(np.arange(35), 12) + np.maximum(np.arange(35) - 12, 0) / 2
    low = np.minimum(at.astype(int), 22)
    t = (at - low).astype("float32")[:, None, None]
    hu = phantom()
    return [Truth(hu[low] * (1 - t) + hu[low + 1] * t)]


@trap("positions were rounded to tenths of a millimeter")
def positions_rounded(folder: Path) -> list[Truth]:
    _heights(folder, lambda i: round(DZ * i, 1))
    return [Truth(phantom())]


@trap("SliceThickness and SpacingBetweenSlices are wrong")
def thickness_wrong(folder: Path) -> list[Truth]:
    save(change(series(), SliceThickness="5", SpacingBetweenSlices="5"), folder)
    return [Truth(phantom())]


@trap("SpacingBetweenSlices is negative")
def spacing_between_negative(folder: Path) -> list[Truth]:
    save(change(series(), SpacingBetweenSlices="-1.25"), folder)
    return [Truth(phantom())]


@trap("slices of 0.5 mm are 1.25 mm apart", warning="apart")
def tissue_between_slices(folder: Path) -> list[Truth]:
    save(change(series(), SliceThickness="0.5"), folder)
    return [Truth(phantom())]


def tilted(degrees: float, descending: bool = False) -> dict:
    """Options of `series` for a gantry that leans by some degrees.

    The images lean; the table moves along the patient's axis.
    """
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    sign = -1 if descending else 1
    return {"orientation": (1, 0, 0, 0, c, -s), "step_mm": (0, 0, sign * DZ)}


def leaning(degrees: float, descending: bool = False) -> np.ndarray:
    """Return what a tilted gantry sees of a ball, `[24, 48, 40]`."""
    options = tilted(degrees, descending)
    row, column = (np.array(options["orientation"][at : at + 3]) for at in (0, 3))
    k, j, i = np.mgrid[:24, :48, :40].astype(float)
    points = (
        k[..., None] * np.array(options["step_mm"])
        + j[..., None] * SPACING_MM[1] * column
        + i[..., None] * SPACING_MM[2] * row
    )
    center = points[12, 24, 20]
    return _ball(np.linalg.norm(points - center, axis=-1))


def _ball(radius: np.ndarray) -> np.ndarray:
    """A soft ball; smooth, so that resampling changes it little."""
    return np.round(1000 * np.exp(-((radius / 6) ** 2)) - 1000).astype("float32")


def straight(degrees: float, descending: bool = False) -> Truth:
    """The same ball on the grid that a straightened series has."""
    tangent = np.tan(np.radians(degrees))
    dz = DZ * np.cos(np.radians(degrees))
    drift = np.arange(24) * dz * tangent / SPACING_MM[1]  # pixels per slice, both signs
    center_slice = 11 if descending else 12  # descending: the last slice comes first
    sideways = -drift  # along a column; the table moves against it
    low = int(np.floor(sideways.min()))
    high = int(np.ceil(sideways.max()))
    rows = 48 + high - low
    k, j, i = np.mgrid[:24, :rows, :40].astype(float)
    center = 24 + sideways[center_slice] - low
    radius = np.sqrt(
        ((k - center_slice) * dz) ** 2
        + ((j - center) * SPACING_MM[1]) ** 2
        + ((i - 20) * SPACING_MM[2]) ** 2
    )
    hu = _ball(radius)
    for index in range(24):  # what was not scanned is air
        first = sideways[index] - low
        outside = (np.arange(rows) < first) | (np.arange(rows) > first + 47)
        hu[index, outside] = -1024
    return Truth(hu, (dz, *SPACING_MM[1:]), tolerance_hu=30)


@trap("the gantry was tilted by 15 degrees", refused="tilted by 15.0 degrees")
def tilt(folder: Path) -> list[Truth]:
    save(series(leaning(15), **tilted(15)), folder)
    return []


@trap("the gantry was tilted the other way", refused="tilted by 12.0 degrees")
def tilt_back(folder: Path) -> list[Truth]:
    save(series(leaning(-12), **tilted(-12)), folder)
    return []


@trap("a tilt of 2 degrees", refused="tilted by 2.0 degrees")
def tilt_slight(folder: Path) -> list[Truth]:
    save(series(leaning(2), **tilted(2)), folder)
    return []


@trap("a tilted series, to be straightened", warning="tilt", tilt="resample")
def tilt_straightened(folder: Path) -> list[Truth]:
    save(series(leaning(15), **tilted(15)), folder)
    return [straight(15)]


@trap("tilted the other way, to be straightened", warning="tilt", tilt="resample")
def tilt_back_straightened(folder: Path) -> list[Truth]:
    save(series(leaning(-15), **tilted(-15)), folder)
    return [straight(-15)]


@trap("tilted, from head to feet, to be straightened", warning="tilt", tilt="resample")
def tilt_descending_straightened(folder: Path) -> list[Truth]:
    save(series(leaning(15, True), **tilted(15, True)), folder)
    return [straight(15, True)]


@trap("the header states a tilt that the positions do not show", warning="gantry tilt")
def tilt_in_header_only(folder: Path) -> list[Truth]:
    save(change(series(), GantryDetectorTilt="15"), folder)
    return [Truth(phantom())]


@trap("one slice is displaced sideways", refused="do not lie on a line")
def one_sideways(folder: Path) -> list[Truth]:
    datasets = series()
    datasets[6].ImagePositionPatient[0] = "-110"
    save(datasets, folder)
    return []


@trap("one slice has another orientation", refused="ImageOrientationPatient differs")
def orientation_differs(folder: Path) -> list[Truth]:
    datasets = series()
    change([datasets[4]], ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])
    save(datasets, folder)
    return []


@trap("rows and columns are not perpendicular", refused="perpendicular")
def orientation_skewed(folder: Path) -> list[Truth]:
    save(
        change(series(), ImageOrientationPatient=["1", "0", "0", "0.2", "0.98", "0"]),
        folder,
    )
    return []


@trap("the directions are not unit vectors", refused="unit vectors")
def orientation_scaled(folder: Path) -> list[Truth]:
    save(
        change(series(), ImageOrientationPatient=["2", "0", "0", "0", "2", "0"]), folder
    )
    return []


@trap("ImageOrientationPatient is missing", refused="no ImageOrientationPatient")
def orientation_missing(folder: Path) -> list[Truth]:
    save(change(series(), ImageOrientationPatient=None), folder)
    return []


@trap("ImagePositionPatient is missing", refused="no ImagePositionPatient")
def positions_missing(folder: Path) -> list[Truth]:
    save(change(series(), ImagePositionPatient=None), folder)
    return []


@trap("ImagePositionPatient is missing in one slice", refused="no ImagePositionPatient")
def position_missing(folder: Path) -> list[Truth]:
    datasets = series()
    change([datasets[8]], ImagePositionPatient=None)
    save(datasets, folder)
    return [Truth(phantom())]


def _malformed(
    folder: Path, keyword: str, text: str, every: bool = True
) -> list[Truth]:
    datasets = series()
    for dataset in datasets if every else datasets[8:9]:
        write_raw(dataset, keyword, text)
    save(datasets, folder)
    return []


@trap("a position is not a number (nan)", refused="ImagePositionPatient must be")
def position_nan(folder: Path) -> list[Truth]:
    return _malformed(folder, "ImagePositionPatient", "-120\\-110\\nan", every=False)


@trap("a position with a decimal comma", refused="ImagePositionPatient is not numeric")
def position_with_comma(folder: Path) -> list[Truth]:
    return _malformed(folder, "ImagePositionPatient", "-120\\-110\\-290,5", every=False)


@trap("a position with two numbers", refused="ImagePositionPatient must be 3")
def position_of_two(folder: Path) -> list[Truth]:
    return _malformed(folder, "ImagePositionPatient", "-120\\-110", every=False)


@trap("one slice has another PixelSpacing", refused="PixelSpacing differs")
def pixel_spacing_differs(folder: Path) -> list[Truth]:
    datasets = series()
    change([datasets[7]], PixelSpacing=["0.9", "0.9"])
    save(datasets, folder)
    return []


@trap("PixelSpacing is negative", refused="PixelSpacing must be from")
def pixel_spacing_negative(folder: Path) -> list[Truth]:
    save(change(series(), PixelSpacing=["-0.7", "-0.7"]), folder)
    return []


@trap("PixelSpacing is 0", refused="PixelSpacing must be from")
def pixel_spacing_zero(folder: Path) -> list[Truth]:
    save(change(series(), PixelSpacing=["0", "0"]), folder)
    return []


@trap("PixelSpacing is in cm", refused="PixelSpacing must be from")
def pixel_spacing_in_cm(folder: Path) -> list[Truth]:
    save(change(series(), PixelSpacing=["0.07", "0.07"]), folder)
    return []


@trap("PixelSpacing is not a number (nan)", refused="PixelSpacing must be 2")
def pixel_spacing_nan(folder: Path) -> list[Truth]:
    return _malformed(folder, "PixelSpacing", "nan\\nan")


@trap("PixelSpacing has decimal commas", refused="PixelSpacing is not numeric")
def pixel_spacing_with_comma(folder: Path) -> list[Truth]:
    return _malformed(folder, "PixelSpacing", "0,7\\0,7")


@trap("PixelSpacing has one number", refused="PixelSpacing must be 2")
def pixel_spacing_of_one(folder: Path) -> list[Truth]:
    return _malformed(folder, "PixelSpacing", "0.7")


@trap("PixelSpacing is missing", refused="no PixelSpacing")
def pixel_spacing_missing(folder: Path) -> list[Truth]:
    save(change(series(), PixelSpacing=None), folder)
    return []


@trap("a single slice", refused="at least 3")
def one_slice(folder: Path) -> list[Truth]:
    save(series()[:1], folder)
    return [Truth(phantom()[:1], (1.0, *SPACING_MM[1:]))]


@trap("two slices", refused="at least 3")
def two_slices(folder: Path) -> list[Truth]:
    save(series()[:2], folder)
    return [Truth(phantom()[:2])]


@trap(
    "a last gap of 1.5 spacings is to be filled in",
    warning="interpolated",
    gaps="interpolate",
)
def odd_gap_filled(folder: Path) -> list[Truth]:
    _heights(folder, lambda i: DZ * (i if i < 23 else 23.5))
    hu = phantom()
    return [
        Truth(
            np.concatenate([hu[:23], (hu[22:23] + 2 * hu[23:24]) / 3]),
            tolerance_hu=1e-3,
        )
    ]


@trap(
    "rounded positions and a missing slice, to be filled in",
    warning="interpolated",
    gaps="interpolate",
)
def rounded_gap_filled(folder: Path) -> list[Truth]:
    datasets = series()
    for index, each in enumerate(datasets):
        each.ImagePositionPatient[2] = f"{-300 + DZ * index:.1f}"
    save([each for i, each in enumerate(datasets) if i != 10], folder)
    hu = phantom()
    hu[10] = (hu[9] + hu[11]) / 2
    return [Truth(hu)]


@trap("positions are impossibly large", refused="impossibly large")
def positions_absurd(folder: Path) -> list[Truth]:
    _heights(folder, lambda i: 1e12 * i)
    return []


@trap("slices lean by 60 degrees", refused="lean by 60 degrees")
def lean_absurd(folder: Path) -> list[Truth]:
    save(series(leaning(60), **tilted(60)), folder)
    return []
