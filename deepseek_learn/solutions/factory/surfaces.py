"""Test surfaces with defects whose exact pixels are known.

Three surfaces are photographs (brick, grass and gravel, from scikit-image) and three are
generated (brushed metal, cast metal and woven fabric). Good parts for training come from
the left half of a photograph and parts for testing from the right half, so that no pixel
is in both. The eight kinds of defects are used for testing only: nothing is ever trained
on them (see `synthetic.py` for the defects of the training).
Lesson: `notebooks/practical/04_defects_from_good_parts.ipynb`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ...errors import require
from ...registry import Registry
from .data import SMALLEST

Surface = Callable[[np.random.Generator, int, str], np.ndarray]
Defect = Callable[[np.ndarray, np.random.Generator], tuple[np.ndarray, np.ndarray]]
surfaces: Registry[Surface] = Registry("surface")
defects: Registry[Defect] = Registry("defect")
PHOTOGRAPHS = ("brick", "grass", "gravel")


@dataclass(frozen=True)
class Parts:
    """Images of parts with the true defects.

    Attributes:
        images: a float32 array of shape `[N, size, size]` with values from 0 to 1.
        masks: a Boolean array of the same shape, True on a defect.
        kinds: the kind of defect of each part; "good" if there is none.
    """

    images: np.ndarray
    masks: np.ndarray
    kinds: list[str]


def parts(
    surface: str,
    good: int,
    defective: int = 0,
    size: int = 256,
    seed: int = 0,
    part: str = "train",
) -> Parts:
    """Make parts of one surface.

    Args:
        surface: one of `surfaces`.
        good: the number of good parts, which come first.
        defective: the number of defective parts; the kinds of defects take turns.
        size: the side length in pixels, at least 32, and up to 256 for a photographed
            surface.
        part: "train" or "test", that is, the half of a photograph to use.

    Raises:
        UnknownNameError: if the surface is unknown.
        MissingPackageError: if the surface is a photograph and scikit-image is missing.
        ValueError: if `part` or a number is out of range.
    """
    if part not in ("train", "test"):
        raise ValueError(f'part must be "train" or "test"; got {part!r}.')
    if surface in PHOTOGRAPHS and size > 256:
        raise ValueError(f"size must be at most 256 for {surface}; got {size}.")
    if size < SMALLEST:
        raise ValueError(f"size must be at least {SMALLEST} pixels; got {size}.")
    if min(good, defective) < 0 or not good + defective:
        raise ValueError(
            f"good and defective must not be negative, nor both 0; got {good} and "
            f"{defective}."
        )
    rng = np.random.default_rng(seed)
    count = good + defective
    images = np.stack([surfaces[surface](rng, size, part) for _ in range(count)])
    images = images.clip(0, 1)
    masks = np.zeros(images.shape, bool)
    names = [*defects]
    kinds = ["good"] * good + [names[i % len(names)] for i in range(defective)]
    for i in range(good, count):
        images[i], masks[i] = defects[kinds[i]](images[i], rng)
    return Parts(images.clip(0, 1).astype("float32"), masks, kinds)


# ---------------------------------------------------------------- good surfaces


def _photograph(name: str, turn: bool) -> Surface:
    def crop(rng: np.random.Generator, size: int, part: str) -> np.ndarray:
        images = require("skimage.data", extra="vision", purpose=f"the surface {name}")
        photo = getattr(images, name)().astype("float32") / 255  # [512, 512]
        half = photo[:, :256] if part == "train" else photo[:, 256:]
        y, x = (rng.integers(0, side - size + 1) for side in half.shape)
        image = half[y : y + size, x : x + size]
        if turn:  # bricks have an upper side, grass and gravel have none
            image = np.rot90(image, int(rng.integers(4)))
        light = rng.uniform(0.92, 1.08), rng.uniform(-0.03, 0.03)
        return image * light[0] + light[1] + rng.normal(0, 0.01, image.shape)

    return crop


for _name in PHOTOGRAPHS:
    surfaces.register(_name)(_photograph(_name, turn=_name != "brick"))


@surfaces.register("brushed")
def brushed(rng: np.random.Generator, size: int, part: str) -> np.ndarray:
    """Brushed metal: noise smeared along the rows, under a soft light."""
    grain = ndimage.gaussian_filter(rng.normal(size=(size, size)), (0.6, 18))
    height = np.linspace(0, 1, size)[:, None]
    light = 0.12 * np.cos(3 * (height - rng.uniform(0.3, 0.7)))
    noise = rng.normal(0, 0.01, (size, size))
    return 0.55 + 0.06 * grain / grain.std() + light + noise


@surfaces.register("cast")
def cast(rng: np.random.Generator, size: int, part: str) -> np.ndarray:
    """Cast metal: noise at three scales."""
    grain = np.zeros((size, size))
    for scale in (1, 3, 8):
        grain += scale * ndimage.gaussian_filter(rng.normal(size=grain.shape), scale)
    return 0.45 + 0.05 * grain / grain.std() + rng.normal(0, 0.01, grain.shape)


@surfaces.register("woven")
def woven(rng: np.random.Generator, size: int, part: str) -> np.ndarray:
    """Woven fabric: two waves with a period of about eight pixels, slightly warped."""
    y, x = np.mgrid[:size, :size]
    noise = rng.normal(size=(2, size, size))
    warp = 14 * ndimage.gaussian_filter(noise, (0, 12, 12))
    period, (a, b) = rng.uniform(7.5, 8.5), rng.uniform(0, 6, 2)
    waves = [np.sin(2 * np.pi * (z + w) / period + phase)
             for z, w, phase in ((x, warp[0], a), (y, warp[1], b))]  # fmt: skip
    return 0.5 + 0.18 * waves[0] * waves[1] + rng.normal(0, 0.03, (size, size))


# ---------------------------------------------------------------- defects


def _walk(rng: np.random.Generator, size: int, turn: float) -> np.ndarray:
    """Draw a random walk of 25 to 90 pixels whose direction changes by `turn` per step.

    The result is the distance of each pixel from the walk, of shape `[size, size]`.
    """
    steps = int(rng.uniform(25, 90))
    angle = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, turn, steps))
    moves = np.stack([np.sin(angle), np.cos(angle)], 1).cumsum(0)
    points = np.round(rng.uniform(0.15, 0.85, 2) * size + moves).astype(int)
    points = points[(points >= 0).all(1) & (points < size).all(1)]
    free = np.ones((size, size), bool)
    free[points[:, 0], points[:, 1]] = False
    return ndimage.distance_transform_edt(free)


def _disk(rng: np.random.Generator, size: int) -> np.ndarray:
    """Return the distance of each pixel from a random center."""
    y, x = np.mgrid[:size, :size]
    center = rng.uniform(0.15, 0.85, 2) * size
    return np.hypot(y - center[0], x - center[1])


def _blend(
    image: np.ndarray, other: np.ndarray | float, alpha: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return `alpha * other + (1 - alpha) * image` and the mask `alpha > 0.5`."""
    return image + alpha * (other - image), alpha > 0.5


@defects.register("scratch")
def scratch(
    image: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A straight line, brighter or darker than the surface."""
    alpha = np.clip(rng.uniform(0.5, 1.1) + 0.5 - _walk(rng, len(image), 0.01), 0, 1)
    return _blend(image, image + rng.choice([-1, 1]) * rng.uniform(0.18, 0.35), alpha)


@defects.register("crack")
def crack(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A dark line that wanders."""
    alpha = np.clip(rng.uniform(0.5, 1.2) + 0.5 - _walk(rng, len(image), 0.35), 0, 1)
    return _blend(image, image - rng.uniform(0.2, 0.4), alpha)


def _spot(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the opacity of a round spot with an uneven border."""
    uneven = ndimage.gaussian_filter(rng.normal(size=image.shape), 5)
    radius = rng.uniform(6, 18) * (1 + 0.25 * uneven / uneven.std())
    return np.clip((radius - _disk(rng, len(image))) / 2 + 0.5, 0, 1)


@defects.register("stain")
def stain(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A spot through which the surface is still visible."""
    change = rng.choice([-1, 1]) * rng.uniform(0.1, 0.2)
    return _blend(image, image + change, _spot(image, rng))


@defects.register("blob")
def blob(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A spot that covers the surface."""
    cover = rng.choice([0.12, 0.85]) + 0.04 * rng.normal(size=image.shape)
    return _blend(image, cover, _spot(image, rng))


@defects.register("pits")
def pits(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """One to four small dark holes with a bright rim."""
    y, x = np.mgrid[: len(image), : len(image)]
    center = rng.uniform(0.15, 0.85, 2) * len(image)
    image, alpha = image.copy(), np.zeros(image.shape)
    for _ in range(rng.integers(1, 5)):
        place, radius = center + rng.normal(0, 8, 2), rng.uniform(1.5, 4)
        distance = np.hypot(y - place[0], x - place[1])
        hole = np.clip(radius - distance + 0.5, 0, 1)
        image += 0.15 * np.exp(-((distance - radius) ** 2) / 2) - 0.28 * hole
        alpha = np.maximum(alpha, hole)
    return image, alpha > 0.5


@defects.register("missing")
def missing(
    image: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A square without any texture, as bright as the surface on average."""
    y, x = np.mgrid[: len(image), : len(image)]
    center, half = rng.uniform(0.15, 0.85, 2) * len(image), rng.integers(8, 22) / 2
    inside = np.maximum(abs(y - center[0]), abs(x - center[1])) < half
    return _blend(image, image.mean(), inside.astype(float))


@defects.register("cutpaste")
def cutpaste(
    image: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A piece of the same surface, turned upside down and lit differently."""
    h, w = rng.integers(8, 26), rng.integers(8, 40)
    y, x, to_y, to_x = (rng.integers(0, len(image) - side) for side in (h, w, h, w))
    piece = np.rot90(image[y : y + h, x : x + w], 2) * rng.uniform(0.75, 1.3)
    image, mask = image.copy(), np.zeros(image.shape, bool)
    image[to_y : to_y + h, to_x : to_x + w] = piece
    mask[to_y : to_y + h, to_x : to_x + w] = True
    return image, mask


@defects.register("blur")
def blur(image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A spot where the surface is worn smooth."""
    alpha = np.clip(rng.uniform(12, 24) - _disk(rng, len(image)), 0, 1)
    return _blend(image, ndimage.gaussian_filter(image, 2.5), alpha)
