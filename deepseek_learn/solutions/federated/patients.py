"""The crops of a hospital's patients, and the file that holds them."""

from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from ...errors import DamagedFileError
from ...files import atomic_write

NAMES = ("crops", "labels", "truth")
SIDE = 16  # voxels of a crop


@dataclass(frozen=True, eq=False)
class Patients:
    """Crops of one hospital's patients.

    Attributes:
        crops: uint8 of shape `[N, 4, 16, 16, 16]`, voxels of 1.5 mm.
        labels: what the hospital's reader says, 1 for a nodule, `[N, 4]`.
        truth: what is there, `[N, 4]`.
    """

    crops: Tensor
    labels: Tensor
    truth: Tensor

    def __len__(self) -> int:
        return len(self.crops)

    def subset(self, index: Tensor) -> "Patients":
        return Patients(self.crops[index], self.labels[index], self.truth[index])

    @classmethod
    def load(cls, path: str | Path) -> "Patients":
        """Read a file with the arrays `crops`, `labels` and `truth`.

        Raises:
            DamagedFileError: if the file is not a readable .npz file.
            ValueError: if an array is missing or has another shape, or a label is neither
                0 nor 1.
        """
        try:
            with np.load(path) as arrays:
                missing = [name for name in NAMES if name not in arrays]
                parts = {name: arrays[name] for name in NAMES if name in arrays}
        except FileNotFoundError:
            raise
        except (OSError, ValueError, TypeError, EOFError, BadZipFile) as error:
            raise DamagedFileError(f"{path} is not a readable .npz file.") from error
        if missing:
            raise ValueError(f"{path} has no array {missing[0]!r}.")
        crops = parts["crops"]
        good = crops.ndim == 5 and crops.shape[2:] == (SIDE,) * 3 and crops.size
        if not good or crops.dtype != np.uint8:
            raise ValueError(
                f"crops in {path} must be uint8 of shape [N, K, {SIDE}, {SIDE}, {SIDE}]; "
                f"got {crops.dtype} of shape {list(crops.shape)}."
            )
        for name in NAMES[1:]:
            values = parts[name]
            if values.shape != crops.shape[:2]:
                raise ValueError(
                    f"{name} in {path} must have shape {list(crops.shape[:2])}; "
                    f"got {list(values.shape)}."
                )
            wrong = values[~np.isin(values, (0, 1))]
            if wrong.size:
                raise ValueError(
                    f"{name} in {path} must be 0 (no nodule) or 1; got {wrong[0]}."
                )
            parts[name] = values.astype(np.uint8)
        return cls(*(torch.from_numpy(parts[name]) for name in NAMES))

    def save(self, path: str | Path) -> None:
        """Write the file that `load` reads."""
        with atomic_write(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **{n: getattr(self, n).numpy() for n in NAMES})
