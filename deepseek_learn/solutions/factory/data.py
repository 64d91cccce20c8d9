"""Read photographs of parts, and reject what cannot be judged, with the reason."""

import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..verdicts import RefusedError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".pgm")
OUTPUT = "verdicts.jsonl"  # a folder with this file contains earlier results, not parts
MEGAPIXELS = 64  # larger images are rejected before they are decoded
LARGEST_FILE = 2**30  # bytes
SMALLEST = 32  # pixels; the networks halve the resolution up to five times
CLIPPED = 0.5  # reject an image if this fraction of its pixels is black or white
CONTRAST = 0.004  # the smallest standard deviation, about one level of gray


class PartError(RefusedError):
    """Raised for a file that cannot be judged; the message gives the reason."""


def part_files(folder: str | Path) -> list[Path]:
    """Return the image files in a folder and its subfolders, sorted by name.

    Hidden files, links to folders and folders with the results of an earlier inspection
    are skipped.

    Raises:
        FileNotFoundError: if the folder does not exist.
        PermissionError: if it or a subfolder cannot be read.
        ValueError: if it contains no image file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{str(folder)!r} is not a folder of images.")
    files = sorted(_images(folder))
    if not files:
        kinds = ", ".join(SUFFIXES)
        raise ValueError(f"{str(folder)!r} contains no image file ({kinds}).")
    return files


def _images(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder, onerror=_complain):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if OUTPUT in files and Path(place) != folder:
            folders.clear()
            continue
        for path in map(Path(place).joinpath, files):
            hidden = path.name.startswith(".")
            if path.suffix.lower() in SUFFIXES and not hidden and _may_be_file(path):
                yield path


def _may_be_file(path: Path) -> bool:
    """Return whether it is a file, or something that we may not look at."""
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except PermissionError:
        return True
    except OSError:  # a broken link, for example
        return False


def _complain(error: OSError) -> None:
    """Raise the error, unless the folder has just been removed."""
    if not isinstance(error, FileNotFoundError):
        raise error


def read_part(path: str | Path, content: bytes | None = None) -> np.ndarray:
    """Read an image as gray values from 0 to 1, a float32 array of shape `[H, W]`.

    Color images are converted to luma (ITU-R BT.601). Images with 16 bits per pixel are
    divided by 65,535. The orientation stored by the camera (EXIF) is applied.

    Args:
        content: the content of the file, if it has been read already.

    Raises:
        PartError: if the file is not an image, is damaged, too large, too small or of an
            unsupported pixel format, or if it contains several images, NaN or infinity.
    """
    path = Path(path)
    name = repr(path.name)  # file names may contain line breaks
    source = path if content is None else io.BytesIO(content)
    try:
        with warnings.catch_warnings():  # about palettes, and about sizes we allow
            warnings.simplefilter("ignore")
            with Image.open(source) as image:
                _check_size(name, image.size)
                _check_single(name, image)
                image.load()
                pixels = _gray(name, ImageOps.exif_transpose(image))
    except PartError:
        raise
    except Image.DecompressionBombError:
        raise PartError(f"{name} has more than {MEGAPIXELS} megapixels.") from None
    except UnidentifiedImageError:
        raise PartError(f"{name} is not an image, or the file is empty.") from None
    except Exception as error:  # damaged files make the decoders raise anything
        reason = str(error).split("\n")[0] or type(error).__name__
        raise PartError(f"{name} cannot be read: {reason}.") from error
    if not np.isfinite(pixels).all():
        raise PartError(f"{name} contains NaN or infinity.")
    return pixels


def _check_size(name: str, size: tuple[int, int]) -> None:
    """Raise a `PartError` unless the image has a reasonable size; nothing is decoded."""
    width, height = size
    if width * height > MEGAPIXELS * 1e6:
        raise PartError(
            f"{name} has {width} x {height} pixels, which is more than {MEGAPIXELS} "
            f"megapixels."
        )
    if min(size) < SMALLEST:
        raise PartError(
            f"{name} has {width} x {height} pixels; each side needs at least {SMALLEST}."
        )


def _check_single(name: str, image: Image.Image) -> None:
    """Raise a `PartError` if the file has several pages or frames."""
    count = getattr(image, "n_frames", 1)
    if count > 1 and image.format != "MPO":  # cameras add previews to their photographs
        raise PartError(
            f"{name} contains {count} images; a part needs a file of its own."
        )


def check_tiled_size(name: str, pixels: np.ndarray, tile: int) -> None:
    """Raise a `PartError` if the part would be too large when extended to a tile."""
    height, width = (max(side, tile) for side in pixels.shape)
    if height * width > MEGAPIXELS * 1e6:
        raise PartError(
            f"{name!r} has {pixels.shape[1]} x {pixels.shape[0]} pixels; extended to tiles "
            f"of {tile}, they would be more than {MEGAPIXELS} megapixels."
        )


def _gray(name: str, image: Image.Image) -> np.ndarray:
    if image.mode in ("I;16", "I;16B", "I;16L"):
        return np.asarray(image, dtype="float32") / 65_535
    if image.mode == "I":  # Pillow's mode for 16-bit PNG files
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65_535:
            raise PartError(f"{name} has more than 16 bits per pixel.")
        return values.astype("float32") / 65_535
    if image.mode == "F":
        values = np.asarray(image, dtype="float32")
        if values.min() < 0 or values.max() > 1:
            raise PartError(f"{name} has floating-point values outside 0..1.")
        return values
    if image.mode in ("RGBA", "LA", "PA", "P", "CMYK", "YCbCr", "1"):
        image = image.convert("RGB")
    if image.mode not in ("RGB", "L"):
        raise PartError(f"{name} has the unsupported pixel format {image.mode}.")
    return np.asarray(image.convert("L"), dtype="float32") / 255


def check_exposure(name: str, pixels: np.ndarray) -> None:
    """Raise a `PartError` if the image shows nothing: black, white or constant."""
    for value, words in ((0.0, "black"), (1.0, "saturated")):
        clipped = float((np.abs(pixels - value) < 0.5 / 255).mean())
        if clipped >= CLIPPED:
            raise PartError(
                f"{name!r} cannot be judged: {clipped:.0%} of its pixels are {words}."
            )
    if pixels.std() < CONTRAST:
        raise PartError(f"{name!r} cannot be judged: all its pixels are nearly equal.")
