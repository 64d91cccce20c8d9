"""The mean overlap per region, on masks where every shortcut gives another number."""

from collections.abc import Iterator
from itertools import chain

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "regions_overlap(maps, masks, threshold)"
SIDES = ((0, 1), (1, 0), (0, -1), (-1, 0))
CORNERS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
# a large region and two pixels that touch at a corner; three pixels; nothing
MASKS = [
    np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 1], [0, 0, 0, 0, 1, 0]], bool),
    np.array([[0, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 0, 0]], bool),
    np.zeros((2, 3), bool),
]
# above 3, each of the usual mistakes gives another number
MAPS = [
    np.array([[4, 4, 5, 1, 2, 2], [5, 5, 5, 3, 4, 4], [2, 2, 0, 0, 3, 5]], float),
    np.array([[0, 2, 2, 1, 1], [2, 3, 4, 0, 0], [1, 1, 1, 3, 4]], float),
    np.full((2, 3), 5.0),
]
# the defects would touch if the images were put beside or below each other
BESIDE_MASKS = [np.diag([0, 0, 1]).astype(bool), np.eye(3, dtype=bool)[::-1]]
BESIDE_MASKS[1][1, 1] = False
BESIDE_MAPS = [np.full((3, 3), 5.0), np.zeros((3, 3))]


def check(answer, rng) -> None:
    expect.function(answer, "regions_overlap")
    cases = [(MAPS, MASKS, 3.0), (BESIDE_MAPS, BESIDE_MASKS, 3.0)]
    cases += [random_case(rng) for _ in range(12)]
    for maps, masks, threshold in cases:
        got = expect.call(answer, maps, masks, threshold)
        compare(float(expect.shape(got, (), CALL)), maps, masks, threshold)


def random_case(rng: np.random.Generator) -> tuple[list, list, float]:
    maps, masks = [], []
    for _ in range(int(rng.integers(1, 5))):
        size = tuple(int(n) for n in rng.integers(4, 13, 2))
        masks.append(rng.random(size) < rng.choice([0.05, 0.15, 0.3]))
        maps.append(rng.integers(0, 6, size).astype(float))  # ties with the threshold
    masks[0][1, 1] = True
    return maps, masks, float(rng.integers(0, 5))


def regions(mask: np.ndarray, steps: tuple) -> Iterator[list[tuple[int, int]]]:
    """Yield the pixels of each connected region."""
    rest = {(int(y), int(x)) for y, x in np.argwhere(mask)}
    while rest:
        region, front = [], [rest.pop()]
        while front:
            y, x = front.pop()
            region.append((y, x))
            neighbors = {(y + dy, x + dx) for dy, dx in steps} & rest
            rest -= neighbors
            front += neighbors
        yield region


def overlaps(maps, masks, threshold, steps=SIDES + CORNERS) -> list[list[float]]:
    """Return the overlap of each region, one list per image."""
    return [
        [
            float(np.mean([values[place] > threshold for place in region]))
            for region in regions(mask, steps)
        ]
        for values, mask in zip(maps, masks, strict=True)
    ]


def compare(got: float, maps, masks, threshold: float) -> None:
    by_image = overlaps(maps, masks, threshold)
    each = list(chain(*by_image))
    want = float(np.mean(each))
    if abs(got - want) <= 1e-5:
        return
    pairs = [(m > threshold, mask) for m, mask in zip(maps, masks, strict=True)]
    hits = sum((above & mask).sum() for above, mask in pairs)
    outside = [float(above[~mask].mean()) for above, mask in pairs if not mask.all()]
    empty = [0 for mask in masks if not mask.any()]
    by_sides = overlaps(maps, masks, threshold, SIDES)
    with_ties = overlaps(maps, masks, np.nextafter(threshold, -1))
    guesses = {
        "pixels": hits / sum(mask.sum() for mask in masks),
        "images": np.mean([np.mean(image) for image in by_image if image]),
        "corners": np.mean(list(chain(*by_sides))),
        "hits": np.mean([overlap > 0 for overlap in each]),
        "equal": np.mean(list(chain(*with_ties))),
        "background": np.mean([*each, *outside]),
        "precision": hits / sum((above | mask).sum() for above, mask in pairs),
        "empty": np.mean([*each, *empty]),
        "empty_found": np.mean([*each, *(1 for _ in empty)]),
    }
    matches = [key for key, value in guesses.items() if abs(got - value) <= 1e-5]
    if len(matches) == 1:
        raise Failed(matches[0].removesuffix("_found"), got=got, want=want)
    raise Failed("expect.value", what=CALL, got=got, want=want)
