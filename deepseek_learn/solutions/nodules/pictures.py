"""Pictures of findings: one section along each axis, with a circle around the finding."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ...files import atomic_write
from .detector import canonical
from .finding import Finding
from .volume import Volume

WINDOWS = {
    "lung": (-600.0, 1500.0),
    "soft tissue": (40.0, 400.0),
    "bone": (400.0, 1800.0),
}
"""Usual display windows: their center and width in HU."""
SIDE_MM, ZOOM = 60, 4  # of a section; pixels per mm
MARK = (255, 170, 0)


def windowed(hu: np.ndarray, window: str = "lung") -> np.ndarray:
    """Return HU as gray values of a display window, uint8.

    Raises:
        ValueError: if there is no such window.
    """
    if window not in WINDOWS:
        raise ValueError(f"window must be one of {', '.join(WINDOWS)}; got {window!r}.")
    center, width = WINDOWS[window]
    scaled = (np.asarray(hu, np.float32) - (center - width / 2)) / width
    return (255 * scaled.clip(0, 1)).round().astype(np.uint8)


def section(volume: Volume, axis: int, center_mm: np.ndarray) -> Image.Image:
    """Return a square section around a point, `SIDE_MM` wide.

    Args:
        volume: with axes that run to the head, the back and the left (`canonical`).
        axis: 0 for axial, 1 for coronal, 2 for sagittal.
        center_mm: the point (z, y, x) in mm from the first voxel.
    """
    spacing = np.array(volume.spacing_mm)
    index = int(
        np.clip(round(center_mm[axis] / spacing[axis]), 0, volume.hu.shape[axis] - 1)
    )
    plane = volume.hu.take(index, axis)
    rows, columns = (a for a in range(3) if a != axis)
    size = SIDE_MM * ZOOM
    left, top = (center_mm[a] - SIDE_MM / 2 for a in (columns, rows))
    # output pixel (i, j) shows the point (left + i / ZOOM, top + j / ZOOM)
    image = Image.fromarray(windowed(plane)).transform(
        (size, size),
        Image.Transform.AFFINE,
        (
            1 / ZOOM / spacing[columns],
            0,
            left / spacing[columns] + 0.5,
            0,
            1 / ZOOM / spacing[rows],
            top / spacing[rows] + 0.5,
        ),
        Image.Resampling.BILINEAR,
    )
    # the head is at the top
    return image if axis == 0 else image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)


def save_picture(path: str | Path, volume: Volume, finding: Finding) -> None:
    """Save an axial, a coronal and a sagittal section of a finding side by side."""
    upright = canonical(volume)
    index = upright.to_index(np.array(finding.center_mm))
    center = index * np.array(upright.spacing_mm)
    size = SIDE_MM * ZOOM
    picture = Image.new("RGB", (3 * size, size))
    draw = ImageDraw.Draw(picture)
    radius = (finding.diameter_mm / 2 + 3) * ZOOM
    for axis in range(3):
        picture.paste(section(upright, axis, center).convert("RGB"), (axis * size, 0))
        x, y = axis * size + size / 2, size / 2
        draw.ellipse(
            (x - radius, y - radius, x + radius, y + radius), outline=MARK, width=2
        )
    with atomic_write(path) as temporary:
        picture.save(temporary, format="PNG")
