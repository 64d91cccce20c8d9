"""Two CT scans of real chests, each with a lesion that a radiologist outlined.

The file `data/files/chest_ct.npz` was created from the source package of pyradiomics 3.0.1
(BSD-3-Clause, SHA-256
47c57f441d6cb7973fa3b2ea48d3948df78e3348e1c69e1e2ff19001601fc2f5).
These commands reproduce it:

    pip download --no-deps --no-build-isolation --no-binary pyradiomics pyradiomics==3.0.1
    tar xzf pyradiomics-3.0.1.tar.gz
    python -c "from deepseek_learn.solutions.nodules.chest_ct import make; \
        make('pyradiomics-3.0.1/data', 'chest_ct.npz')"

Each block of 2 x 2 pixels of a slice was averaged and rounded to whole HU; a lesion's pixel
is set if at least two of the four are. Slices are stored as lossless JPEG-LS. The scans are
5 mm thick, so that small nodules are hardly visible in them.
"""

import zlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import require
from ...files import atomic_write

OFFSET = 2048  # is added to HU, since JPEG-LS stores unsigned numbers
NUMBERS = (1, 2)
PURPOSE = "Reading the chest CT scans"


@dataclass(frozen=True, eq=False)
class ChestCT:
    """A real scan.

    Attributes:
        hu: Hounsfield units, float32 of shape `[Z, 256, 256]`; Z runs to the head, Y to
            the back and X to the patient's left.
        spacing_mm: the distances between voxels along Z, Y and X.
        origin_mm: the center of the first voxel in patient coordinates (x, y, z).
        lesion: which voxels belong to the outlined lesion.
    """

    hu: np.ndarray
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]
    lesion: np.ndarray


def chest_ct(number: int) -> ChestCT:
    """Load a scan: 1 has a lesion of about 14 mm, 2 a large one at the pleura.

    Raises:
        ValueError: if `number` is not 1 or 2.
        MissingPackageError: if the package `pyjpegls` is missing.
    """
    if number not in NUMBERS:
        raise ValueError(f"number must be 1 or 2; got {number!r}.")
    decode = require("jpeg_ls", extra="medical", purpose=PURPOSE).decode
    path = files("deepseek_learn.data") / "files" / "chest_ct.npz"
    with path.open("rb") as file, np.load(file) as arrays:
        code, ends, lesion, geometry = (
            arrays[f"{name}_{number}"]
            for name in ("code", "ends", "lesion", "geometry")
        )
    slices = [decode(np.ascontiguousarray(part)) for part in np.split(code, ends[:-1])]
    hu = np.stack(slices).astype(np.float32) - OFFSET
    dz, dy, dx, x, y, z = map(float, geometry)
    mask = np.unpackbits(lesion)[: hu.size].reshape(hu.shape).astype(bool)
    return ChestCT(hu, (dz, dy, dx), (x, y, z), mask)


def make(folder: str | Path, target: str | Path) -> None:
    """Regenerate the npz file `target` from the package's folder `data`.

    Raises:
        FileNotFoundError: if a file is missing.
        MissingPackageError: if the package `pyjpegls` is missing.
    """
    encode = require("jpeg_ls", extra="medical", purpose=PURPOSE).encode_array
    arrays: dict[str, Any] = {}
    for number in NUMBERS:
        image, header = _read_nrrd(Path(folder) / f"lung{number}_image.nrrd")
        label, _ = _read_nrrd(Path(folder) / f"lung{number}_label.nrrd")
        values = np.round(_halved(image)).astype(np.int32) + OFFSET
        code = [
            np.frombuffer(encode(each.astype(np.uint16)), np.uint8) for each in values
        ]
        (dx, dy, dz), (x, y, z) = header
        arrays[f"code_{number}"] = np.concatenate(code)
        arrays[f"ends_{number}"] = np.cumsum([len(each) for each in code])
        arrays[f"lesion_{number}"] = np.packbits(_halved(label > 0) >= 0.5)
        # the first voxel's center moves by half a pixel
        arrays[f"geometry_{number}"] = np.array(
            [dz, 2 * dy, 2 * dx, x + dx / 2, y + dy / 2, z]
        )
    with atomic_write(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _halved(volume: np.ndarray) -> np.ndarray:
    z, y, x = volume.shape
    return volume.reshape(z, y // 2, 2, x // 2, 2).mean((2, 4))


def _read_nrrd(path: Path) -> tuple[np.ndarray, tuple[list[float], list[float]]]:
    """Return the voxels `[Z, Y, X]`, and spacing and origin along x, y and z."""
    if not path.exists():
        raise FileNotFoundError(
            f"folder must be the folder data of pyradiomics 3.0.1; {path} is missing."
        )
    text, _, content = path.read_bytes().partition(b"\n\n")
    pairs = (line.split(": ", 1) for line in text.decode().splitlines() if ": " in line)
    header = dict(pairs)
    size = [int(n) for n in header["sizes"].split()]
    rows = header["space directions"].split()
    steps = [float(row.strip("()").split(",")[axis]) for axis, row in enumerate(rows)]
    origin = [float(n) for n in header["space origin"].strip("()").split(",")]
    voxels = np.frombuffer(zlib.decompress(content, 31), "<i2").reshape(size[::-1])
    return voxels, (steps, origin)
