"""Find the front's smallest weighted sum, with every objective on the same scale."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed


def check(answer, rng) -> None:
    expect.function(answer, "choose")
    cases = draw(rng)
    got = [expect.call(answer, points, weights) for points, weights, _ in cases]
    got = [expect.integer(index, "choose(points, weights)") for index in got]
    for index, (points, weights, choices) in zip(got, cases, strict=True):
        if index != choices["want"]:
            expect.call(answer, points, weights)  # so that this input is shown
            raise Failed(
                mistake(got, cases),
                got=index,
                want=choices["want"],
            )


def draw(rng) -> list[tuple]:
    """Draw cases, with all choices, until each mistake is wrong in two of them."""
    remaining = dict.fromkeys((*MISTAKES, "alike"), 2)
    cases: list[tuple] = []
    while len(cases) < 16 or max(remaining.values()) > 0:
        size, goals = int(rng.integers(5, 12)), int(rng.integers(2, 4))
        points = front_and_more(rng, size, goals, alike=rng.random() < 0.25)
        points = points * 10.0 ** rng.uniform(-3, 3, points.shape[1])
        weights = rng.uniform(0.1, 1, points.shape[1])
        want, clear = reference(points, weights)
        choices = {name: how(points, weights) for name, how in MISTAKES.items()}
        edges = {name for name, index in choices.items() if index != want}
        front = on_front(points)
        if (points[front] == points[front[0]]).all(0).any():
            edges.add("alike")
            clear = clear and want != front[0]  # the index that 0 / 0 gives
        if clear and (len(cases) < 16 or any(remaining[edge] > 0 for edge in edges)):
            remaining.update({edge: remaining[edge] - 1 for edge in edges})
            cases.append((points, weights, choices | {"want": want}))
    return cases


def front_and_more(rng, size: int, goals: int, alike: bool) -> np.ndarray:
    """Draw a convex front and a few points far behind it, which must not set the scale.

    Each goal has its own offset. The front's best point in the first goal has a
    duplicate; its best value in the last goal is shared by a point far worse elsewhere.
    With `alike`, there is one more goal, in which the whole front is equal.
    """
    sphere = np.abs(rng.normal(size=(size, goals)))
    front = 1 - sphere / np.linalg.norm(sphere, axis=1)[:, None]
    decoy = rng.uniform(2, 30, goals)
    decoy[-1] = front[:, -1].min()
    twin = front[front[:, 0].argmin()]
    points = np.vstack([front, twin, rng.uniform(2, 30, (3, goals)), decoy])
    points = points + rng.uniform(0, 3, goals)
    if alike:
        points = np.column_stack([points, [1.0] * (size + 1) + [2.0, 3.0, 4.0, 5.0]])
    return rng.permutation(points)


def on_front(points: np.ndarray) -> np.ndarray:
    rows = points.tolist()
    return np.array(
        [
            i
            for i, row in enumerate(rows)
            if not any(
                other != row and all(a <= b for a, b in zip(other, row, strict=True))
                for other in rows
            )
        ]
    )


def sums(points: np.ndarray, weights: np.ndarray, scale_by: np.ndarray) -> np.ndarray:
    total = np.zeros(len(points))
    for column, among, weight in zip(points.T, scale_by.T, weights, strict=True):
        low, high = among.min(), among.max()
        if high > low:
            total += weight * (column - low) / (high - low)
    return total


def reference(points: np.ndarray, weights: np.ndarray) -> tuple[int, bool]:
    """Return the index, and whether it wins by a clear margin."""
    front = on_front(points)
    total = sums(points[front], weights, points[front])
    ranked = np.sort(total)
    clear = len(ranked) > 2 and ranked[1] - ranked[0] > 1e-3
    return int(front[np.argmin(total)]), clear


def mistake(got: list[int], cases: list[tuple]) -> str:
    """Return the only mistake that explains every answer, or else "other"."""
    matches = [
        name
        for name in MISTAKES
        if all(i == choices[name] for i, (*_, choices) in zip(got, cases, strict=True))
    ]
    return matches[0] if len(matches) == 1 and matches[0] in EXPLAINED else "other"


def strict_front(points) -> np.ndarray:
    return np.flatnonzero(~(points[:, None] < points).all(-1).any(0))


def without_twins(points) -> np.ndarray:
    return np.flatnonzero((points[:, None] <= points).all(-1).sum(0) == 1)


def best(points, weights, front, low, span) -> int:
    scaled = (points[front] - low) / np.where(span > 0, span, 1)
    return int(front[np.argmin(scaled @ weights)])


def among(points, weights, front) -> int:
    """Choose like the reference, but with another front."""
    low = points[front].min(0)
    return best(points, weights, front, low, points[front].max(0) - low)


def divided(points, weights, by) -> int:
    """Divide every goal of the front by a statistic of the front."""
    front = on_front(points)
    return best(points, weights, front, points[front].min(0), by(points[front], 0))


# What wrong answers choose; those in EXPLAINED have their own sentence.
EXPLAINED = ("unscaled", "all", "unweighted")
MISTAKES = {
    "unscaled": lambda points, weights: int(np.argmin(points @ weights)),
    "all": lambda points, weights: int(np.argmin(sums(points, weights, points))),
    "unweighted": lambda points, weights: reference(points, np.ones_like(weights))[0],
    "largest": lambda points, weights: divided(points, weights, np.max),
    "std": lambda points, weights: divided(points, weights, np.std),
    "mean": lambda points, weights: divided(points, weights, np.mean),
    "strict": lambda points, weights: among(points, weights, strict_front(points)),
    "twins": lambda points, weights: among(points, weights, without_twins(points)),
}
