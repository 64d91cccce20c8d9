"""Other readers of CT series, in an environment of their own.

    python benchmarks/models/dicom_peers.py READER LIST.json OUT

LIST.json holds the folders to read. For each, a line is printed: its index and "read" or
"refused: why"; OUT/INDEX.npz gets `hu` `[Z, Y, X]`, `spacing_mm` and `warned`. Each reader
is called as its documentation shows it: SimpleITK with GDCM's file names of the first
series, dicom2nifti without reorientation, MONAI with its PydicomReader. Everything that a
reader writes to stderr while it reads counts as a warning.
"""

import json
import os
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np


def simpleitk(folder):
    import SimpleITK as sitk

    reader = sitk.ImageSeriesReader()
    deep = not any(path.is_file() for path in Path(folder).iterdir())
    place = str(next(p for p in Path(folder).rglob("*") if p.is_file()).parent)
    ids = reader.GetGDCMSeriesIDs(place)
    if not ids:
        raise ValueError("no series")
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(folder, ids[0], False, deep))
    image = reader.Execute()
    return sitk.GetArrayFromImage(image), image.GetSpacing()[::-1]


def dicom2nifti(folder):
    import dicom2nifti as library
    import nibabel

    with tempfile.TemporaryDirectory() as place:
        path = str(Path(place, "scan.nii"))
        library.dicom_series_to_nifti(folder, path, reorient_nifti=False)
        image = nibabel.load(path)
        values = np.asanyarray(image.dataobj)
    return values.transpose(2, 1, 0), image.header.get_zooms()[2::-1]


def monai(folder):
    from monai.transforms import LoadImage

    image = LoadImage(reader="PydicomReader", image_only=True)(folder)
    spacing = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
    return np.asarray(image).transpose(2, 1, 0), spacing[::-1]


# what MONAI writes whatever it reads, since a decoder for GPUs is missing
ALWAYS = ("nvImageCodec", "NvImgCodec", "warnings.warn(")
READERS = {"SimpleITK": simpleitk, "dicom2nifti": dicom2nifti, "MONAI": monai}


def main(name, folders, out):
    read = READERS[name]
    for index, folder in enumerate(json.loads(Path(folders).read_text())):
        if Path(out, f"{index}.npz").exists() or Path(out, f"{index}.no").exists():
            continue
        print(index, end=" ", flush=True)
        with tempfile.TemporaryFile() as log, warnings.catch_warnings():
            warnings.simplefilter("always")
            stderr = os.dup(2)
            os.dup2(log.fileno(), 2)
            try:
                hu, spacing = read(folder)
                hu = np.asarray(hu, np.float32)
                error = None
            except BaseException as problem:  # whatever a reader raises is a refusal
                error = (str(problem).strip().splitlines() or [""])[-1]
                error = f"{type(problem).__name__}: {error}"
            finally:
                sys.stderr.flush()
                os.dup2(stderr, 2)
                os.close(stderr)
            log.seek(0)
            lines = log.read().decode(errors="replace").splitlines()
            warned = any(
                not any(w in line for w in ALWAYS) for line in lines if line.strip()
            )
        if error is None:
            np.savez(
                Path(out, f"{index}.npz"), hu=hu, spacing_mm=spacing, warned=warned
            )
            print("read", flush=True)
        else:
            Path(out, f"{index}.no").write_text(error)
            print("refused:", error[:100], flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
