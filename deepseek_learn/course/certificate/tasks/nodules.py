"""Tell nodules from other spots in computed tomography scans of a phantom.

The chests are generated from the seed, with the shapes of real nodules, so that each
seed makes scans that nobody has seen. Drawing takes about half a minute.
"""

from collections.abc import Sequence

import numpy as np

from .task import Draw, tasks

SCANS, TEST_SCANS, PER_SCAN = 2, 1, 24
EDGE = 24  # mm of a cube
OTHERS = 2  # other places for each nodule


@tasks.register("nodules", title={"en": "Find nodules", "zh": "寻找肺结节"})
def nodules(rng: np.random.Generator, _: bytes | None = None) -> Draw:
    """Cubes of 24 mm, `[N, 24, 24, 24]`, in two classes, 1 with a nodule in the middle.

    Values are gray, from 0 for -1200 HU to 1 for 600 HU. The other cubes have something
    dense inside the lung in their middle, mostly vessels. The tests are of other chests
    and of the nodules of other patients.
    """
    from ....solutions.phantoms.scans import split_shapes

    shapes = split_shapes()
    x, y = cubes(rng, shapes["train"], SCANS)
    test_x, test_y = cubes(rng, shapes["test"], TEST_SCANS)
    return Draw(x, y, test_x, test_y)


def cubes(
    rng: np.random.Generator, shapes: Sequence[int], scans: int
) -> tuple[np.ndarray, np.ndarray]:
    from ....solutions.phantoms.phantom import scan
    from ....solutions.phantoms.scans import gray

    x, y = [], []
    for _ in range(scans):
        chosen = [int(shape) for shape in rng.choice(shapes, PER_SCAN, replace=False)]
        ct = scan(int(rng.integers(2**31)), chosen)
        values = gray(ct.hu)
        scale = np.array(ct.spacing_mm)
        centers = [np.array(nodule.center_mm) / scale for nodule in ct.nodules]
        places = centers + elsewhere(rng, values, centers, OTHERS * len(centers))
        labels = [1] * len(centers) + [0] * (len(places) - len(centers))
        for place, label in zip(places, labels, strict=True):
            x.append(cube(values, place, scale))
            y.append(label)
    order = rng.permutation(len(x))
    return np.stack(x)[order], np.array(y, np.int64)[order]


def elsewhere(
    rng: np.random.Generator, values: np.ndarray, nodules: list, count: int
) -> list[np.ndarray]:
    """Return dense places that are surrounded by lung and far from every nodule."""
    places: list[np.ndarray] = []
    while len(places) < count:
        place = np.array([rng.integers(EDGE, size - EDGE) for size in values.shape])
        z, y, x = place
        around = values[z - 4 : z + 5, y - 8 : y + 9, x - 8 : x + 9]
        in_lung = np.mean((around > 30) & (around < 100)) > 0.5
        far = all(np.abs(place - nodule).max() > EDGE for nodule in nodules)
        if in_lung and far and values[z, y, x] > 130:
            places.append(place)
    return places


def cube(values: np.ndarray, place: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Cut out a cube and bring it to 1 mm along z, by repeating slices."""
    half = EDGE // 2
    padded = np.pad(values, EDGE, mode="edge")
    steps = [np.round(np.arange(-half, half) / each).astype(int) for each in scale]
    index = [
        np.clip(round(float(center)) + EDGE + step, 0, size - 1)
        for center, step, size in zip(place, steps, padded.shape, strict=True)
    ]
    return padded[np.ix_(*index)].astype(np.float32) / 255
