"""Compute the squared distances between all pairs of points by broadcasting."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# (N, M, D): first the cases in which axes of equal length hide a mistake
SIZES = [(4, 4, 3), (5, 5, 5), (3, 6, 2), (6, 3, 3), (1, 4, 2), (4, 1, 2), (3, 5, 8)]


def check(answer, rng) -> None:
    expect.function(answer, "distances")
    for n, m, d in SIZES:
        x, y = rng.normal(size=(n, d)), rng.normal(size=(m, d)) + 1
        tensors = [torch.from_numpy(part).float() for part in (x, y)]
        want = reference(*(part.double().numpy() for part in tensors))
        got = expect.call(answer, *tensors)
        name_mistake(got, want, d)
        expect.close(got, torch.from_numpy(want), "distances(x, y)")


def reference(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Sum coordinate by coordinate: `x [N, D]`, `y [M, D]` → `[N, M]`."""
    return sum(np.subtract.outer(a, b) ** 2 for a, b in zip(x.T, y.T, strict=True))


def name_mistake(got, want: np.ndarray, coordinates: int) -> None:
    """Raise `Failed` if the answer is a known mistake."""
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return  # `expect.close` reports it
    values = expect.numbers(got, "distances(x, y)")
    guesses = {"root": np.sqrt(want), "mean": want / coordinates}
    if want.shape[0] == want.shape[1]:
        guesses["transposed"] = want.T
    if np.allclose(values, want, rtol=1e-4, atol=1e-5):
        return
    for key, guess in guesses.items():
        if np.allclose(values, guess, rtol=1e-4, atol=1e-5):
            raise Failed(key)
