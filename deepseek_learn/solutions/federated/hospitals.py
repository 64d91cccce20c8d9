"""Three hospitals that differ by scanner, by reader and by size, and a fourth one.

    python -m deepseek_learn.solutions.federated.hospitals   # writes crops.npz
    deepseek-learn federated scans FOLDER

A hospital's patients are phantoms (`phantoms.phantom`) with the nodules of real patients
(LIDC-IDRI). No such patient belongs to two hospitals, or to training and test at once. A
reader marks what his hospital cares about, and what he leaves out counts as no nodule in
the hospital's own files. The test patients have both labels: the reader's, and the truth.
The hospital `elsewhere` has the scanner of the external scans (`phantoms.scans`) and never
trains. The shapes of the nodules in crops.npz are LIDC-IDRI's (CC BY 3.0). The scans behind
the crops, on which a detector is trained, are too large for the package: the second command
generates them, a folder per hospital.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage

from ...bar import Bar
from ...data.card import read_card
from ...errors import DamagedFileError
from ...files import atomic_write
from ..nodules.detector import COARSE, lung_mask, resampled
from ..phantoms.nodule_shapes import nodule_shapes
from ..phantoms.phantom import ELSEWHERE, Scan, Scanner, scan
from ..phantoms.scans import GENERATOR, SEED, gray, keep_scans, split_shapes
from .patients import NAMES, SIDE, Patients

FILE = "crops.npz"
# of the file
SHA256 = "590881f7b00cb4f28031b84559e0a92f67b610840bded119f07720c30374085a"
CARD = read_card("federated_hospitals")
PER_PATIENT, NODULES = 4, 2  # crops; at most so many with a nodule
VOXEL_MM = 1.5  # of a crop
PEAKS = 12  # candidates per scan
APART_MM = 10.0  # their distance from nodules and specks
TEST = 40  # test patients per hospital
PARTS = {"train": 0, "test": 1, "new": 2}  # "new": for figures that are looked at once


@dataclass(frozen=True)
class Annotator:
    """Which nodules a hospital's reader marks.

    Attributes:
        smallest_mm: smaller ones are left out.
        texture: those with a lower rating (1 ground glass to 5 solid) are left out.
    """

    smallest_mm: float = 3.0
    texture: float = 1.0

    def marks(self, diameter_mm: float, texture: float) -> bool:
        return diameter_mm >= self.smallest_mm and texture >= self.texture


@dataclass(frozen=True)
class Hospital:
    """A hospital.

    Attributes:
        number: part of the seed of its patients.
        share: the part of the training nodules' patients that come here.
        patients: the number of its training patients; 0 if it never trains.
    """

    name: str
    number: int
    scanner: Scanner
    reader: Annotator
    share: float
    patients: int


HOSPITALS = {
    each.name: each
    for each in (
        Hospital(
            "north", 1, Scanner(1, 1.25, 0.55, (15, 45), 0.6), Annotator(), 0.5, 160
        ),
        Hospital(
            "harbor", 2, Scanner(1.5, 2, 0.8, (15, 35), 1, 0.8), Annotator(6), 0.3, 80
        ),
        Hospital(
            "valley",
            3,
            Scanner(1.25, 1.25, 0.4, (40, 75), 0.5),
            Annotator(3, 3),
            0.2,
            40,
        ),
        Hospital("elsewhere", 4, ELSEWHERE, Annotator(), 0.0, 0),
    )
}
TRAINING = tuple(name for name, each in HOSPITALS.items() if each.patients)


@lru_cache(maxsize=1)
def _stored() -> dict[str, np.ndarray]:
    content = (files("deepseek_learn.solutions.federated") / FILE).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DamagedFileError(f"{FILE} is not the file that the package came with.")
    with np.load(io.BytesIO(content)) as arrays:
        return dict(arrays)


def patients(hospital: str, part: str = "train") -> Patients:
    """Return the crops of a hospital's patients.

    Args:
        part: "train" or "test".

    Raises:
        ValueError: if there is no such hospital or part.
    """
    if hospital not in HOSPITALS:
        raise ValueError(
            f"hospital must be one of {', '.join(HOSPITALS)}; got {hospital!r}."
        )
    if f"{hospital}_{part}_crops" not in _stored():
        raise ValueError(
            f"part must be train or test, and {hospital} may not train; got {part!r}."
        )
    arrays = (_stored()[f"{hospital}_{part}_{name}"] for name in NAMES)
    return Patients(*map(torch.from_numpy, arrays))


def joined(*parts: Patients) -> Patients:
    """Return all patients in one place: what no hospital may do."""
    return Patients(*(torch.cat([getattr(each, n) for each in parts]) for n in NAMES))


def patient_scan(hospital: Hospital, part: str, index: int) -> Scan:
    """Generate the scan of a patient: 1 to 3 nodules of one patient of LIDC-IDRI."""
    pool = _pool(hospital, part)
    seed = (SEED, 10 + hospital.number, PARTS[part], index)
    rng = np.random.default_rng(seed)
    own = pool[rng.integers(len(pool))] if part == "train" else pool[index]
    chosen = rng.permutation(own)[: 1 + rng.integers(3)]
    return scan(seed, [int(shape) for shape in chosen], hospital.scanner)


def _pool(hospital: Hospital, part: str) -> list[np.ndarray]:
    """Return the nodules of each patient of LIDC-IDRI who belongs to a hospital."""
    shapes = np.array(split_shapes()["train" if part == "train" else "test"])
    owner = nodule_shapes().table["patient"].to_numpy()[shapes]
    order = np.random.default_rng([SEED, 10]).permutation(np.unique(owner))
    if part == "train":
        shares = [each.share for each in HOSPITALS.values()]
        ends = np.round(np.cumsum(shares) * len(order)).astype(int)
        start = 0 if hospital.number == 1 else ends[hospital.number - 2]
        order = order[start : ends[hospital.number - 1]]
    else:
        first = (hospital.number - 1 + (part == "new") * len(HOSPITALS)) * TEST
        order = order[first : first + TEST]
    return [shapes[owner == patient] for patient in order]


def patient_crops(
    phantom: Scan, reader: Annotator, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return four crops of a scan, the reader's labels and the truth.

    Up to two show a nodule. The others show bright blobs in the lungs: vessels, bronchi,
    scars.
    """
    volume = resampled(phantom.hu, phantom.spacing_mm)
    shown = [
        phantom.nodules[i] for i in rng.permutation(len(phantom.nodules))[:NODULES]
    ]
    centers = [each.center_mm for each in shown]
    labels = [reader.marks(each.diameter_mm, each.texture) for each in shown]
    avoid = [each.center_mm for each in phantom.nodules] + [
        c[:3] for c in phantom.specks
    ]
    blobs = [*_blobs(volume, np.array(avoid).reshape(-1, 3))]
    chosen = rng.permutation(len(blobs))[: PER_PATIENT - len(shown)]
    centers += [blobs[i] for i in chosen]
    crops = np.stack([_crop(volume, np.array(center)) for center in centers])
    none = [False] * len(chosen)
    truth = np.array([True] * len(shown) + none, np.uint8)
    return crops, np.array(labels + none, np.uint8), truth


def _blobs(volume: np.ndarray, avoid: np.ndarray) -> Iterator[tuple[float, ...]]:
    """Yield the centers of the brightest blobs of about 6 mm in the lungs."""
    half = [n - n % COARSE for n in volume.shape]
    blocks = volume[: half[0], : half[1], : half[2]].clip(-1000, 100)
    shape = [part for n in half for part in (n // 2, 2)]
    coarse = blocks.reshape(shape).mean((1, 3, 5))  # voxels of 2 mm
    lungs = ndimage.binary_erosion(lung_mask(volume), iterations=4)
    inside = np.kron(lungs, np.ones((COARSE // 2,) * 3, bool))
    blob = ndimage.gaussian_filter(coarse, 1) - ndimage.gaussian_filter(coarse, 3)
    top = (blob == ndimage.maximum_filter(blob, 5)) & inside
    where = np.argwhere(top)[np.argsort(-blob[top], kind="stable")]
    found = 0
    for point in 2.0 * where + 0.5:
        if len(avoid) and np.linalg.norm(avoid - point, axis=1).min() < APART_MM:
            continue
        yield tuple(map(float, point))
        found += 1
        if found == PEAKS:
            return


def _crop(volume: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Return the 24 mm around a point as bytes, voxels of 1.5 mm, `[16, 16, 16]`."""
    offsets = (np.arange(SIDE) - (SIDE - 1) / 2) * VOXEL_MM
    low = np.maximum(np.floor(center - SIDE * VOXEL_MM / 2 - 2), 0).astype(int)
    part = volume[tuple(slice(n, n + round(SIDE * VOXEL_MM) + 6) for n in low)]
    smooth = ndimage.gaussian_filter(part, 0.5 * (VOXEL_MM - 1))
    axes = (c - n + offsets for c, n in zip(center, low, strict=True))
    points = np.stack(np.meshgrid(*axes, indexing="ij"))
    return gray(ndimage.map_coordinates(smooth, points, order=1, mode="nearest"))


def generate(
    hospital: Hospital, part: str, count: int, progress: bool = True
) -> Patients:
    """Generate the crops of a hospital's first patients of a part, one of `PARTS`."""
    rows = []
    with Bar(count, progress, f"{hospital.name}, {part}") as bar:
        for index in range(count):
            rng = np.random.default_rng([SEED, hospital.number, len(part), index])
            phantom = patient_scan(hospital, part, index)
            rows.append(patient_crops(phantom, hospital.reader, rng))
            bar.advance(1)
    arrays = (np.stack(column) for column in zip(*rows, strict=True))
    return Patients(*map(torch.from_numpy, arrays))


def make(path: str | Path, progress: bool = True) -> None:
    """Generate the crops of all hospitals and write them to a file."""
    arrays: dict[str, np.ndarray] = {}
    for each in HOSPITALS.values():
        for part, count in (("train", each.patients), ("test", TEST)):
            if count:
                own = generate(each, part, count, progress)
                arrays |= {f"{each.name}_{part}_{n}": getattr(own, n) for n in NAMES}
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def make_scans(
    hospital: Hospital, folder: str | Path, count: int | None = None
) -> Path:
    """Write the scans of a hospital's training patients with what its reader marks.

    Args:
        folder: the cache, 19 MB per scan; scans that it contains are not made again.
        count: of patients; None for all of them.

    Returns:
        The hospital's own folder in it.
    """

    def make(index: int) -> tuple[np.ndarray, np.ndarray]:
        phantom = patient_scan(hospital, "train", index)
        marked = [
            [*each.center_mm, each.diameter_mm]
            for each in phantom.nodules
            if hospital.reader.marks(each.diameter_mm, each.texture)
        ]
        nodules = np.array(marked, float).reshape(-1, 4)
        return gray(resampled(phantom.hu, phantom.spacing_mm)), nodules

    own = Path(folder) / f"generator-{GENERATOR}" / hospital.name
    keep_scans(own, hospital.patients if count is None else count, make)
    return own


if __name__ == "__main__":
    make(Path(__file__).parent / FILE)
