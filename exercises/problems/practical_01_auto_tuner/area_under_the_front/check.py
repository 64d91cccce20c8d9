"""Compute the hypervolume in two dimensions, the area under a staircase."""

from fractions import Fraction
from itertools import pairwise

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed, told_apart


def check(answer, rng) -> None:
    expect.function(answer, "hypervolume")
    for trial in range(12):
        points = rng.uniform(0, 1.2, (int(rng.integers(2, 12)), 2))
        points = np.vstack([points, points[:1], [2.0, 0.01]])  # a twin, one outside
        reference = rng.uniform(0.8, 1.1, 2) * (1 if trial % 3 else 1.5)
        if trial % 4 == 0:  # the goals may be negative, and so may the reference
            points, reference = points - 2, reference - 2
        if trial == 1:
            points = points[-1:]  # nothing is dominated
        if trial == 2:  # one point, and one exactly on the reference's edge
            points = np.array([points[0] / 2, [0.0, reference[1]]])
        want = area(points, reference)
        got = expect.call(answer, points, reference)
        value = float(expect.shape(got, (), "hypervolume(points, reference)"))
        boxes = sum(
            max(reference[0] - x, 0) * max(reference[1] - y, 0) for x, y in points
        )
        if abs(value - boxes) < 1e-9 < abs(value - want):
            raise Failed("boxes", got=value, want=want)
        if 1e-9 < abs(value - want) < 3e-6:  # float32's relative error is 6e-8
            raise Failed("float32", **told_apart(value, want))
        if value > want + 1e-9:
            raise Failed("more", got=value, want=want)
        expect.close(value, want, "hypervolume(points, reference)", 1e-9)


def area(points: np.ndarray, reference: np.ndarray) -> float:
    """Compute the exact area, counting each cell of the coordinates' grid once."""
    pairs = [[Fraction(float(v)) for v in row] for row in points]
    right, top = (Fraction(float(v)) for v in reference)
    xs = sorted({x for x, _ in pairs if x < right} | {right})
    ys = sorted({y for _, y in pairs if y < top} | {top})
    total = Fraction(0)
    for x, x_end in pairwise(xs):
        for y, y_end in pairwise(ys):
            if any(a <= x and b <= y for a, b in pairs):
                total += (x_end - x) * (y_end - y)
    return float(total)
