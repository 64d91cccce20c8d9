"""An odd polynomial of a matrix acts on its singular values alone."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed
from deepseek_learn.optim.orthogonal import POLAR_EXPRESS

FIVE = ((3.4445, -4.7750, 2.0315),) * 5  # Jordan et al. 2024
CALL = "orthogonalize(x, coefficients)"
TOLERANCE = 1e-3  # five polynomials amplify float32's rounding up to 500 times


def check(answer, rng) -> None:
    expect.function(answer, "orthogonalize")
    short, long = int(rng.integers(2, 7)), int(rng.integers(8, 20))
    sizes = (short, short), (short, long), (long, short), (1, long), (long, 1)
    for size in sizes[:3]:  # so small that a large epsilon beside the norm is noticed
        small = rng.normal(size=size)
        compare(answer, (0.03 * small / np.linalg.norm(small)).astype("float32"), FIVE)
    for rounds in (1, 2, POLAR_EXPRESS, FIVE):
        for size in sizes:
            x = 10 ** rng.uniform(-1, 2) * rng.normal(size=size)
            coefficients = draw(rng, rounds) if isinstance(rounds, int) else rounds
            compare(answer, x.astype("float32"), coefficients)
    for size in sizes[:3]:
        compare(answer, np.zeros(size, "float32"), FIVE)


def draw(rng, rounds: int) -> tuple:
    """Draw polynomials that stay small on [0, 1]."""
    ranges = (1, 2), (-1.5, -0.5), (0.1, 0.4)
    return tuple(tuple(float(rng.uniform(*r)) for r in ranges) for _ in range(rounds))


def compare(answer, x, coefficients) -> None:
    got = expect.call(answer, torch.from_numpy(x), coefficients)
    x = x.astype(float)
    want = torch.tensor(reference(x, coefficients, float(np.linalg.norm(x))))
    if isinstance(got, torch.Tensor) and got.shape == want.shape:
        values = expect.numbers(got, CALL)
        if not x.any() and not np.isfinite(values).all():
            raise Failed("zeros")
        name_mistake(values, want.numpy(), x, coefficients)
    expect.close(got, want, CALL, TOLERANCE)


def reference(x, coefficients, norm: float):
    """Compute the result from the singular values themselves."""
    u, s, v = np.linalg.svd(x / (norm or 1.0), full_matrices=False)
    return u * chain(s, coefficients) @ v


def chain(s, coefficients):
    with np.errstate(over="ignore", invalid="ignore"):
        for a, b, c in coefficients:
            s = a * s + b * s**3 + c * s**5
    return s


def name_mistake(values, want, x, coefficients) -> None:
    """Raise `Failed` if the answer is a known mistake."""

    def matches(guess) -> bool:
        atol = TOLERANCE * max(1.0, np.abs(want).max())
        return bool(np.isfinite(guess).all()) and np.allclose(values, guess, 0, atol)

    if matches(want):
        return
    size, largest = float(np.linalg.norm(x)), float(np.linalg.norm(x, 2))
    swapped = [(a, c, b) for a, b, c in coefficients]
    guesses = {
        "elements": chain(x / size, coefficients) if size else x,
        "norm": reference(x, coefficients, 1.0),
        "largest": reference(x, coefficients, largest),
        "swapped": reference(x, swapped, size),
        "order": reference(x, coefficients[::-1], size),
        "first": reference(x, coefficients[:1], size),
    }
    for key, guess in guesses.items():
        if matches(guess):
            raise Failed(key)
