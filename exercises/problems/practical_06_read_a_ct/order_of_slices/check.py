"""Sort slices along their normal."""

from itertools import pairwise

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

KINDS = (
    "axial",
    "feet first",
    "sagittal",
    "oblique",
    "tilted",
    "tilted the other way",
    "oblique",
)


def check(answer, rng) -> None:
    expect.function(answer, "order")
    for kind in KINDS:
        orientation, step = geometry(rng, kind)
        count = int(rng.integers(5, 9))
        # the middle slice is nearest to the origin of the coordinates
        offset = rng.uniform(-1, 1, 3) * np.linalg.norm(step) / 2
        steps = np.arange(count) - (count - 1) / 2
        positions = offset + steps[:, None] * step
        positions = positions[shuffled(rng, count)]
        call = f"order({count} positions, orientation)  # {kind}"
        got = expect.call(answer, positions.copy(), orientation.copy())
        judge(got, positions @ np.cross(orientation[:3], orientation[3:]), call)


def shuffled(rng, count: int) -> np.ndarray:
    """Return a permutation that differs from its inverse, and from its reverse."""
    while True:
        index = rng.permutation(count)
        if (index[index] != np.arange(count)).any():
            return index


def geometry(rng, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the orientation and the step from one slice to the next."""
    row, column = np.array([1.0, 0, 0]), np.array([0.0, 1, 0])
    if kind == "feet first":
        row = -row
    if kind == "sagittal":
        row, column = np.array([0.0, 1, 0]), np.array([0.0, 0, -1])
    if kind == "oblique":  # any rotation
        q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
        row, column = q[:, 0], q[:, 1]
    normal = np.cross(row, column)
    step = normal * rng.uniform(0.5, 3)
    if kind.startswith("tilted"):  # the table moves mostly sideways of the normal
        angle = np.radians(rng.uniform(50, 60))
        column = np.array([0, np.cos(angle), np.sin(angle)])
        normal = np.cross(row, column)
        side = 1 if kind == "tilted" else -1
        step = normal * 1.0 + column * side * rng.uniform(2.5, 4)
    return np.concatenate([row, column]), step


def judge(got, heights: np.ndarray, call: str) -> None:
    count = len(heights)
    values = expect.shape(got, (count,), call)
    if sorted(values.tolist()) != [*range(count)]:
        facts = {"count": count, "got": [float(f"{v:.6g}") for v in values]}
        raise Failed("permutation", call=call, **facts)
    index = values.astype(int)
    for later, earlier in pairwise(index):
        if heights[later] > heights[earlier]:
            facts = {"low": heights[earlier], "high": heights[later]}
            raise Failed(
                "order", call=call, first=int(earlier), second=int(later), **facts
            )
