"""Tiles and how they are blended, for any placement that the prompt allows."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# height, width, tile, overlap: an exact fit, one pixel more, smaller than a tile, ...
CASES = (
    (8, 8, 8, 2),
    (9, 8, 8, 0),
    (16, 24, 8, 0),
    (20, 14, 8, 2),
    (5, 13, 8, 3),
    (12, 3, 8, 4),
    (4, 5, 9, 3),
    (9, 8, 5, 4),
    (23, 17, 7, 2),
)


class RecordingModel:
    """A model whose map depends on the place of the tile, so that tiles disagree."""

    __name__ = "model"

    def __init__(self, image: np.ndarray, tile: int, seed: int, call: str):
        self.image, self.tile, self.seed, self.call = image, tile, seed, call
        missing = [(0, max(0, tile - side)) for side in image.shape]
        self.padded = np.pad(image, missing, mode="symmetric")
        self.maps: dict[tuple[int, ...], np.ndarray] = {}  # of each corner, in order

    def __call__(self, x):
        got = list(np.shape(x))
        if got != [self.tile, self.tile]:
            raise Failed("tile_shape", call=self.call, got=got, tile=self.tile)
        values = expect.numbers(x, "tile")
        # every pixel of the image has its own value, which tells where the tile is from
        place = np.abs(self.image - values[0, 0]).argmin()
        corner = tuple(int(i) for i in np.unravel_index(place, self.image.shape))
        original = self.padded[self.region(corner)]
        inside = original.shape == values.shape
        if not (inside and np.allclose(original, values, atol=1e-5)):
            raise Failed("content", call=self.call)
        rng = np.random.default_rng([self.seed, *corner])
        self.maps.pop(corner, None)
        self.maps[corner] = rng.random(values.shape)
        return self.maps[corner].copy()

    def region(self, corner: tuple[int, ...]) -> tuple[slice, ...]:
        return tuple(slice(start, start + self.tile) for start in corner)


def check(answer, rng) -> None:
    expect.function(answer, "tiled_map")
    cases = [*CASES]
    for _ in range(6):
        height, width, tile = (int(n) for n in rng.integers([4, 4, 3], [30, 30, 12]))
        cases.append((height, width, tile, int(rng.integers(0, tile - 1))))
    for height, width, tile, overlap in cases:
        pixels = height * width
        image = rng.permutation(pixels).reshape(height, width) / pixels
        call = f"tiled_map(model, image [{height}, {width}], {tile}, {overlap})"
        model = RecordingModel(image, tile, int(rng.integers(2**31)), call)
        got = expect.call(answer, model, image, tile, overlap)
        compare_places(model, overlap, call)
        compare(expect.shape(got, image.shape, call), model, call)


def compare_places(model: RecordingModel, overlap: int, call: str) -> None:
    """Require the fewest tiles that cover the image and overlap far enough."""
    tile, count = model.tile, 1
    covered = np.zeros(model.padded.shape, bool)
    for corner in model.maps:
        covered[model.region(corner)] = True
    if not covered.all():
        row, column = (int(i) for i in np.argwhere(~covered)[0])
        raise Failed("uncovered", call=call, row=row, column=column)
    for axis, length in enumerate(model.padded.shape):
        starts = sorted({corner[axis] for corner in model.maps})
        for first, second in pairwise(starts):
            if second - first > tile - overlap:
                facts = {"first": first, "second": second, "overlap": overlap}
                raise Failed("little_overlap", call=call, **facts)
        count *= 1 + -(-(length - tile) // (tile - overlap))  # rounded up
    if len(model.maps) > count:
        raise Failed("many", call=call, got=len(model.maps), want=count)


def compare(got: np.ndarray, model: RecordingModel, call: str) -> None:
    height, width = got.shape
    if not np.isfinite(got).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(got))[0])
        raise Failed("not_finite", call=call, row=row, column=column)
    ramp = np.minimum(np.arange(model.tile), np.arange(model.tile)[::-1]) + 1.0
    weight = np.outer(ramp, ramp)
    want = blend(model, weight)[:height, :width]
    if np.allclose(got, want, atol=1e-5):
        return
    for key, guess in guesses(model, weight, np.minimum.outer(ramp, ramp)):
        if np.allclose(got, guess[:height, :width], atol=1e-5):
            raise Failed(key, call=call)
    expect.close(got, want, call)


def add(model: RecordingModel, weight: np.ndarray) -> np.ndarray:
    """Return the weighted sum of the maps."""
    total = np.zeros(model.padded.shape)
    for corner, values in model.maps.items():
        total[model.region(corner)] += weight * values
    return total


def blend(model: RecordingModel, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the maps."""
    weights = np.zeros(model.padded.shape)
    for corner in model.maps:
        weights[model.region(corner)] += weight
    return add(model, weight) / weights


def guesses(
    model: RecordingModel, weight: np.ndarray, smaller: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the names of mistakes, with the maps that they give."""
    equal = np.ones_like(weight)
    yield "sum", add(model, equal)
    yield "sum", add(model, weight)
    yield "plain", blend(model, equal)
    yield "smaller", blend(model, smaller)
    last, most = np.zeros(model.padded.shape), np.zeros(model.padded.shape)
    for corner, values in model.maps.items():
        here = model.region(corner)
        last[here], most[here] = values, np.maximum(most[here], values)
    yield "last", last
    yield "maximum", most
