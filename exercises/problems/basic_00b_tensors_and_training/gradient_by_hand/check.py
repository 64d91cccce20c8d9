"""Derive the gradient of a linear classifier's cross entropy."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

# (B, D, K): first the cases in which axes of equal length hide a mistake
SIZES = [(6, 4, 4), (5, 5, 5), (7, 3, 4), (2, 6, 3), (9, 2, 5), (8, 5, 3), (6, 3, 4)]
LARGE = 200.0  # exp(200) is infinite in float32


def check(answer, rng) -> None:
    expect.function(answer, "gradient")
    for trial, size in enumerate(SIZES):
        large = LARGE if trial == 5 else 0.0
        arrays, y = draw(rng, size, large)
        if trial == 6:  # exp of half of the rows is 0 beside the largest logit of all
            arrays[0][:, 0], arrays[1][0] = (-1) ** np.arange(size[0]), LARGE / 2
        tensors = [torch.from_numpy(array) for array in arrays]
        got = expect.call(answer, tensors[0], torch.from_numpy(y), *tensors[1:])
        results = expect.parts(got, 2, "gradient(...)")
        exact = [array.astype(float) for array in arrays]
        for i, want in enumerate(reference(exact, y)):
            name_mistake(results[i], want, exact, y, i)
            what = f"gradient(...)[{i}]"
            expect.close(results[i], torch.from_numpy(want), what)


def draw(rng, size: tuple, large: float) -> tuple[list[np.ndarray], np.ndarray]:
    """Draw x, weight and bias in float32, and at least two different classes."""
    b, d, k = size
    x, weight, bias = (
        rng.normal(size=(b, d)),
        rng.normal(size=(d, k)),
        rng.normal(size=k),
    )
    y = rng.integers(0, k, size=b)
    y[:2] = rng.permutation(k)[:2]
    bias = 2 * bias + large
    return [array.astype("float32") for array in (x, weight, bias)], y


def softmax(z: np.ndarray, axis: int = 1) -> np.ndarray:
    p = np.exp(z - z.max(axis, keepdims=True))
    return p / p.sum(axis, keepdims=True)


def reference(arrays, y) -> tuple[np.ndarray, np.ndarray]:
    x, weight, bias = arrays
    dz = softmax(x @ weight + bias) - np.eye(len(bias))[y]
    return x.T @ dz / len(y), dz.sum(0) / len(y)


def name_mistake(got, want: np.ndarray, arrays, y, part: int) -> None:
    """Raise `Failed` if the answer is a known mistake."""
    if not isinstance(got, torch.Tensor) or got.shape != want.shape:
        return  # `expect.close` reports it
    values = expect.numbers(got, "gradient(...)")
    if np.allclose(values, want, rtol=1e-4, atol=1e-5):
        return
    if not np.isfinite(values).all():
        raise Failed("overflow")
    x, weight, bias = arrays
    z, onehot = x @ weight + bias, np.eye(len(bias))[y]

    def both(dz):
        return (x.T @ dz, dz.sum(0))[part]

    guesses = {
        "batch": want * len(y),
        "sign": -want,
        "truth": both(softmax(z) / len(y)),
        "axis": both((softmax(z, 0) - onehot) / len(y)),
    }
    for key, guess in guesses.items():
        if np.allclose(values, guess, rtol=1e-4, atol=1e-5):
            raise Failed(key)
