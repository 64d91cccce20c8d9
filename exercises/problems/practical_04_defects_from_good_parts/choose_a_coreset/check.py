"""Greedy k-center selection, verified step by step."""

import numpy as np

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# rows 0, 11, 8 and 7 by any rule; then each of the usual mistakes chooses another row
SPREAD = np.array(
    [
        *([0.0, 0.0], [-3.0, -5.0], [3.0, -2.0], [-5.0, 1.0], [-1.0, 4.0]),
        *([0.0, 1.0], [-4.0, -4.0], [7.0, -1.0], [-6.0, 4.0], [2.0, 1.0]),
        *([-2.0, 1.0], [2.0, -9.0], [2.0, -6.0]),
    ]
)
LINE = np.array([[0.0], [10.0], [9.0], [5.1], [-4.0], [1.0]])
PLANE = np.array([[0.0, 0.0], [5.0, 0.0], [3.0, 3.2], [0.5, -1.0], [-1.0, 0.2]])


def check(answer, rng) -> None:
    expect.function(answer, "coreset")
    cases = [(SPREAD, 5, 0), (LINE, 6, 5), (PLANE, 2, 0), (PLANE, 1, 3)]
    cases.append((LINE[:1], 1, 0))
    for _ in range(10):
        count, channels = int(rng.integers(3, 40)), int(rng.integers(2, 6))
        vectors = rng.normal(size=(count, channels)) + rng.normal(size=channels)
        size, first = int(rng.integers(1, count + 1)), int(rng.integers(count))
        cases.append((vectors, size, first))
    for vectors, size, first in cases:
        call = f"coreset(vectors {list(vectors.shape)}, {size}, {first})"
        got = expect.parts(expect.call(answer, vectors, size, first), size, call)
        if any(is_vector(each, vectors.shape[1]) for each in got):
            raise Failed("vectors", call=call)
        compare([expect.integer(i, call) for i in got], vectors, first, call)


def is_vector(each, channels: int) -> bool:
    try:
        return channels > 1 and np.shape(each) == (channels,)
    except ValueError:  # lists of different lengths
        return False


def compare(rows: list[int], vectors: np.ndarray, first: int, call: str) -> None:
    for i in rows:
        if not 0 <= i < len(vectors):
            raise Failed("row", call=call, got=i, last=len(vectors) - 1)
    if rows[0] != first:
        raise Failed("first", call=call, got=rows[0], want=first)
    for step in range(1, len(rows)):
        compare_step(rows[:step], rows[step], vectors, call)


def compare_step(before: list[int], row: int, vectors: np.ndarray, call: str) -> None:
    """Require that `row` is the farthest from its nearest neighbor in `before`."""
    if row in before:
        raise Failed("twice", call=call, got=row)
    difference = vectors[:, None] - vectors[before]  # [N, chosen, C]
    distances = np.sqrt((difference**2).sum(2))  # [N, chosen]
    nearest = distances.min(1)
    # the tolerance is for float32 and for distances from a matrix product
    if nearest[row] >= nearest.max() - 1e-3 * distances.max():
        return
    guesses = {
        "last_only": distances[:, -1],
        "first_only": distances[:, 0],
        "sum": distances.sum(1),
        "mean": np.linalg.norm(vectors - vectors[before].mean(0), axis=1),
        "greatest": distances.max(1),
        "manhattan": np.abs(difference).sum(2).min(1),
    }
    rest = np.setdiff1d(np.arange(len(vectors)), before)
    matches = [key for key, x in guesses.items() if rest[x[rest].argmax()] == row]
    facts = {"call": call, "before": before, "got": row, "want": int(nearest.argmax())}
    if len(matches) == 1:
        raise Failed(matches[0], **facts)
    raise Failed("other", distance=nearest[row], farthest=nearest.max(), **facts)
