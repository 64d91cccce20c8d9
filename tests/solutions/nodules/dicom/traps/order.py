"""Traps: the order of the slices, and the patient's position."""

import shutil
from pathlib import Path

import numpy as np

from deepseek_learn.solutions.nodules.dicom.writing import change

from .trap import SPACING_MM, Truth, phantom, save, series, trap


@trap("the names of the files do not show the order")
def shuffled(folder: Path) -> list[Truth]:
    save(series(), folder)
    return [Truth(phantom())]


@trap("InstanceNumber counts from head to feet")
def instance_numbers_reversed(folder: Path) -> list[Truth]:
    save(change(series(), InstanceNumber=lambda i: 24 - i), folder)
    return [Truth(phantom())]


@trap("InstanceNumber is 1 in every slice")
def instance_numbers_equal(folder: Path) -> list[Truth]:
    save(change(series(), InstanceNumber=1), folder)
    return [Truth(phantom())]


@trap("InstanceNumber is missing")
def instance_numbers_missing(folder: Path) -> list[Truth]:
    save(change(series(), InstanceNumber=None), folder)
    return [Truth(phantom())]


@trap("InstanceNumber is random")
def instance_numbers_random(folder: Path) -> list[Truth]:
    numbers = np.random.default_rng(2).permutation(24) + 1
    save(change(series(), InstanceNumber=lambda i: int(numbers[i])), folder)
    return [Truth(phantom())]


@trap("SliceLocation contradicts the positions")
def slice_location_reversed(folder: Path) -> list[Truth]:
    save(change(series(), SliceLocation=lambda i: str(-i)), folder)
    return [Truth(phantom())]


@trap("SliceLocation is the same in every slice")
def slice_location_equal(folder: Path) -> list[Truth]:
    save(change(series(), SliceLocation="0"), folder)
    return [Truth(phantom())]


@trap("the slices lie in two subfolders")
def subfolders(folder: Path) -> list[Truth]:
    paths = save(series(), folder)
    for index, path in enumerate(paths):
        place = folder / "AB"[index % 2]
        place.mkdir(exist_ok=True)
        shutil.move(path, place / path.name)
    return [Truth(phantom())]


@trap("every other slice has the same name in another subfolder")
def same_names(folder: Path) -> list[Truth]:
    for half in (0, 1):
        save(series(uid_seed="same")[half::2], folder / str(half))
    return [Truth(phantom())]


@trap("the patient lies prone, so rows run from left to right")
def prone(folder: Path) -> list[Truth]:
    datasets = series(orientation=(-1, 0, 0, 0, -1, 0))
    save(change(datasets, PatientPosition="HFP"), folder)
    return [Truth(phantom())]


@trap("feet first: a row runs to the patient's right, the normal to the feet")
def feet_first(folder: Path) -> list[Truth]:
    datasets = series(orientation=(-1, 0, 0, 0, 1, 0))
    save(change(datasets, PatientPosition="FFS"), folder)
    return [Truth(phantom())]


@trap("decubitus: a row runs along the patient's back")
def decubitus(folder: Path) -> list[Truth]:
    datasets = series(orientation=(0, 1, 0, -1, 0, 0))
    save(change(datasets, PatientPosition="HFDR"), folder)
    return [Truth(phantom())]


@trap("the first file is the one at the head: positions descend")
def head_to_feet(folder: Path) -> list[Truth]:
    step = (0, 0, -SPACING_MM[0])
    save(series(step_mm=step), folder, shuffle=False)
    return [Truth(phantom()[::-1])]


@trap("sagittal slices")
def sagittal(folder: Path) -> list[Truth]:
    save(series(orientation=(0, 1, 0, 0, 0, -1)), folder)
    return [Truth(phantom())]


@trap("coronal slices")
def coronal(folder: Path) -> list[Truth]:
    save(series(orientation=(1, 0, 0, 0, 0, -1)), folder)
    return [Truth(phantom())]


@trap("slices turned by 10 degrees about the patient's axis")
def oblique(folder: Path) -> list[Truth]:
    c, s = np.cos(np.radians(10)), np.sin(np.radians(10))
    save(series(orientation=(c, s, 0, -s, c, 0)), folder)
    return [Truth(phantom())]


@trap("slices turned about two axes, as in a reformatted volume")
def doubly_oblique(folder: Path) -> list[Truth]:
    c, s = np.cos(0.3), np.sin(0.3)
    save(series(orientation=(c, s, 0, -s * c, c * c, s)), folder)
    return [Truth(phantom())]
