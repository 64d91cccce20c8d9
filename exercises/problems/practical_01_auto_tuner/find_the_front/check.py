"""Find the non-dominated points, with ties and duplicates among them."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "on_front(points)"
CASES = (
    [[0.5, 0.25]],
    [[0.5], [0.25], [0.25]],
    [
        [0.0, 0.5],
        [0.0, 0.75],
        [0.5, 0.0],
        [0.75, 0.0],
    ],  # better in one, equal in the other
    [[0.5, 0.5]] * 3,
    [[-1.0, 0.0], [0.0, -1.0], [-0.5, -0.5], [0.0, 0.0]],
)


def check(answer, rng) -> None:
    expect.function(answer, "on_front")
    cases = [np.array(points) for points in CASES]
    for trial in range(16):
        size, goals = int(rng.integers(4, 14)), int(rng.integers(1, 5))
        levels = 4 if trial % 2 else 1000  # few levels: many ties
        points = rng.integers(0, levels, (size, goals)) / levels
        points[-1] = points[int(rng.integers(size))]  # duplicates do not dominate
        cases.append(points)
    for points in cases:
        want = reference(points.tolist())
        got = expect.call(answer, points)
        expect.shape(got, want.shape, CALL)
        dtype = np.asarray(got).dtype
        if dtype.kind != "b":
            raise Failed("expect.dtype", what=CALL, got=str(dtype), want="bool")
        compare(np.asarray(got), want, points)


def reference(rows: list[list[float]]) -> np.ndarray:
    """Compare pair by pair, in plain Python."""

    def dominated(row: list[float]) -> bool:
        return any(
            all(a <= b for a, b in zip(other, row, strict=True)) and other != row
            for other in rows
        )

    return np.array([not dominated(row) for row in rows])


def compare(got: np.ndarray, want: np.ndarray, points: np.ndarray) -> None:
    if (got == want).all():
        return
    where = int(np.flatnonzero(got != want)[0])
    duplicated = (points == points[where]).all(1).sum() > 1
    kind = "twin" if want[where] and duplicated else "in" if want[where] else "out"
    facts = {"row": where, "points": np.round(points, 3).tolist()}
    raise Failed(kind, **facts)
