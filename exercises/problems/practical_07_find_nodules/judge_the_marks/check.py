"""Hits and false marks of one scan."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "judge")
    for marks, nodules in [*special(), *(scan(rng) for _ in range(8))]:
        call = f"judge({len(marks)} marks, {len(nodules)} nodules)"
        got = expect.parts(expect.call(answer, marks.copy(), nodules.copy()), 2, call)
        compare(tuple(expect.integer(n, call) for n in got), marks, nodules, call)


def special() -> list[tuple[np.ndarray, np.ndarray]]:
    """Marks where wrong rules differ from the right one, and nothing at all."""
    ball, none = [10.0, 10, 10, 8], np.zeros((0, 4))
    two = np.array([ball, [10.0, 10, 14, 8]])
    edge = np.array([[0.9, 10.0, 10, 14], [0.8, 10, 10, 13], [0.1, 1, 1, 1]])
    both = np.array([[0.5, 10.0, 10, 12]])
    thrice = np.array([[0.5, 10.0, 10, 11], [0.6, 10, 9, 10], [0.7, 11, 10, 10]])
    one = two[:1]
    corner = np.array([[0.5, 13.0, 13, 13], [0.4, 15, 10, 10], [0, 10, 10, 13.6]])
    large = np.array([[10.0, 10, 10, 20], [10, 10, 18, 4]])  # and a small one beside
    nearer = np.array([[0.5, 10.0, 10, 15]])  # to the small one, but in the large one
    pairs = [(edge[:1], one), (edge, one), (both, two), (thrice, one)]
    pairs += [(corner, one), (corner[:2], one), (nearer, large), (corner * 0, one)]
    return [*pairs, (none, two), (edge, none), (none, none)]


def scan(rng) -> tuple[np.ndarray, np.ndarray]:
    """Nodules, some of which overlap, with marks in, near and far from them."""
    nodules = rng.uniform(20, 60, (int(rng.integers(2, 6)), 4))
    nodules[:, 3] = rng.uniform(5, 12, len(nodules))
    twin = nodules[0].copy()
    twin[2] += twin[3] / 2
    nodules = np.concatenate([nodules, twin[None]])
    points = [(nodules[0, :3] + twin[:3]) / 2]  # in both
    for *center, diameter in nodules[1:]:
        for factor in (0.2, 0.45, 0.8):  # of the diameter
            if rng.random() < 0.5:
                direction = rng.normal(size=3)
                unit = direction / np.linalg.norm(direction)
                points.append(np.array(center) + unit * factor * diameter)
    points += [*rng.uniform(0, 100, (3, 3))]
    return np.column_stack([rng.random(len(points)), np.array(points)]), nodules


def count(near: np.ndarray) -> tuple[int, int]:
    return int(near.any(0).sum()), int((~near.any(1)).sum())


def compare(got, marks: np.ndarray, nodules: np.ndarray, call: str) -> None:
    distance = np.linalg.norm(marks[:, None, 1:] - nodules[None, :, :3], axis=2)
    radius = nodules[:, 3] / 2
    near = distance < radius
    want = count(near)
    if got == want:
        return
    first = near & (np.cumsum(near, 1) == 1)  # each mark hits the first nodule only
    closest = near & (distance == distance.min(1, keepdims=True, initial=np.inf))
    extra = int(near.any(1).sum()) - want[0]
    guesses = {
        "diameter": [count(distance < 2 * radius)],
        "edge": [count(distance <= radius)],
        "repeated": [
            (int(near.sum()), want[1]),
            (int(near.any(1).sum()), want[1]),
            (want[0], want[1] + extra),
            (want[0], len(marks) - want[0]),
        ],
        "nearest": [count(first), count(closest)],
        "squared": [count(distance**2 < radius)],
    }
    matches = [name for name, values in guesses.items() if got in values]
    key = matches[0] if len(matches) == 1 else "other"
    raise Failed(key, call=call, got=list(got), want=list(want))
