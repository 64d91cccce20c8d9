# ruff: noqa: E501 - prose in two languages; a Chinese character counts as two
"""Hypervolume in two dimensions: the steps of a staircase."""

from fractions import Fraction
from itertools import pairwise

import numpy as np

from .. import expect
from ..problem import Failed, Problem, told_apart


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
        if trial == 2:  # one point, and one just at the reference's edge
            points = np.array([points[0] / 2, [0.0, reference[1]]])
        want = area(points, reference)
        got = expect.call(answer, points, reference)
        value = float(expect.shape(got, (), "hypervolume(points, reference)"))
        boxes = sum(
            max(reference[0] - x, 0) * max(reference[1] - y, 0) for x, y in points
        )
        if abs(value - boxes) < 1e-9 < abs(value - want):
            raise Failed("area_under_the_front.boxes", got=value, want=want)
        if 1e-9 < abs(value - want) < 3e-6:  # each float32 is wrong by 6e-8 of itself
            raise Failed("area_under_the_front.float32", **told_apart(value, want))
        if value > want + 1e-9:
            raise Failed("area_under_the_front.more", got=value, want=want)
        expect.close(value, want, "hypervolume(points, reference)", 1e-9)


def area(points: np.ndarray, reference: np.ndarray) -> float:
    """By the cells of the grid that all coordinates span, each counted once, exactly."""
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


HEAD = "import numpy as np\n\n\ndef hypervolume(points, reference):\n"
BODY = """    area, floor = 0.0, reference[1]
    for x, y in sorted(points.tolist()):
        if x < reference[0] and y < floor:
            area += (reference[0] - x) * (floor - y)
            floor = y
    return area
"""


def changed(old: str, new: str) -> str:
    assert old in BODY
    return HEAD + BODY.replace(old, new)


problem = Problem(
    id="area_under_the_front",
    version=2,
    lesson="auto_tuner",
    stage="practical",
    title={"en": "The area that a front dominates", "zh": "前沿支配的面积"},
    prompt={
        "en": """Two goals, both better when smaller. Each point dominates the rectangle from itself up to the reference; the
**hypervolume** is the area of all these rectangles together, where several overlap counted **once**.

Write `hypervolume(points, reference)` for `points` `[N, 2]` and `reference` `[2]` (numpy): return that area in float64. Among the
points are dominated ones, equal ones, and some that lie beyond the reference: those add nothing.""",
        "zh": """两个目标，都是越小越好。每个点支配从它自己到参考点之间的矩形；**超体积**就是所有这些矩形合起来的面积，重叠的部分只算**一次**。

请编写 `hypervolume(points, reference)`，其中 `points` 形状为 `[N, 2]`，`reference` 形状为 `[2]`（numpy 数组）：以 float64 返回这个面积。点中有被支配的、有重复的，也有超出参考点的：它们都不增加面积。""",
    },
    starter=HEAD + "    ...\n",
    answer="hypervolume",
    hints=(
        {
            "en": "Draw it: a staircase. Go through the points from left to right and remember the lowest second value so far.",
            "zh": "画出来看看：是一段阶梯。从左到右逐点处理，并记住目前为止最低的第二个值。",
        },
        {
            "en": "Sorted by the first goal, a point that is below the floor so far adds the slab (reference[0] − x) · (floor − y); then y is the floor. The floor begins at reference[1].",
            "zh": "按第一个目标排序后，凡是低于当前最低值 floor 的点，增加一块 (reference[0] − x) · (floor − y)，然后 floor 变为 y。floor 的初值是 reference[1]。",
        },
    ),
    check=check,
    solution=HEAD + BODY,
    wrong={
        "overlaps counted twice": HEAD
        + "    sides = np.clip(reference - points, 0, None)\n    return sides.prod(1).sum()\n",
        "points beyond the reference not left out": changed(
            "x < reference[0] and ", ""
        ),
        "the floor never falls": changed("            floor = y\n", ""),
        "the largest rectangle only": HEAD
        + "    sides = np.clip(reference - points, 0, None)\n    return sides.prod(1).max()\n",
        "nothing below zero": changed(
            "area, floor", "points = np.clip(points, 0, None)\n    area, floor"
        ),
        "in float32": changed(
            "area, floor = ",
            "points, reference = (x.astype(np.float32) for x in (points, reference))\n    area, floor = ",
        ),
        "not sorted": changed("sorted(points.tolist())", "points.tolist()"),
    },
    right={
        "cell by cell": HEAD
        + """    xs = np.unique(np.append(np.minimum(points[:, 0], reference[0]), reference[0]))
    area = 0.0
    for left, right in zip(xs[:-1], xs[1:]):
        lowest = points[points[:, 0] <= left, 1].min()
        area += (right - left) * max(reference[1] - lowest, 0)
    return area
""",
    },
    points=2,
    minutes=15,
)
