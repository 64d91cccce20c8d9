"""The layout of rotary pairs: a bug that no shape reveals, and that really shipped."""

from typing import Any

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "index_key(k, positions, rope)"


def check(answer, rng) -> None:
    expect.function(answer, "index_key")
    for trial in range(6):
        tokens, rope = int(rng.integers(2, 7)), 2 * int(rng.integers(2, 6))
        dim = rope + int(rng.integers(3, 9)) * (trial != 4)  # in trial 4, all rotate
        if trial == 5:
            tokens, rope = 1, 2
        k = rng.normal(size=(tokens, dim))
        positions = np.sort(rng.choice(500, size=tokens, replace=False)) + 1
        if trial == 3:  # as in a packed batch: any order, starting at 0
            positions = rng.permutation(tokens)
        inputs = torch.from_numpy(k).float(), torch.from_numpy(positions)
        got = expect.call(answer, *inputs, rope)
        compare(got, inputs[0].double().numpy(), positions, rope)


def reference(
    k, positions, rope, pairs="halves", first=True, back=False, all_of=False, cat=False
):
    """Return the correct key, or the key with the selected mistakes."""
    size = k.shape[1] - k.shape[1] % 2 if all_of else rope
    start = 0 if first or all_of else k.shape[1] - rope
    part = k[:, start : start + size]
    theta = 10_000.0 ** -(np.arange(0, size, 2) / size)
    angle = positions[:, None] * theta * (-1 if back else 1)
    places = np.arange(size).reshape(2, -1)
    if pairs == "neighbors":
        places = places.T.reshape(-1).argsort().reshape(2, -1)
        places = np.stack([np.arange(0, size, 2), np.arange(1, size, 2)])
    a, b = part[:, places[0]], part[:, places[1]]
    result = k.copy()
    result[:, start + places[0]] = a * np.cos(angle) - b * np.sin(angle)
    result[:, start + places[1]] = b * np.cos(angle) + a * np.sin(angle)
    if cat:  # the rotated pairs are concatenated instead of put back
        result[:, start : start + size] = result[:, start + places.ravel()]
    return result


GUESSES: dict[str, dict[str, Any]] = {
    "neighbors": {"pairs": "neighbors"},
    "joined": {"pairs": "neighbors", "cat": True},
    "last": {"first": False},
    "back": {"back": True},
    "all": {"all_of": True},
}


def compare(got, k, positions, rope) -> None:
    want = reference(k, positions, rope)
    expect.tensor(got, CALL, torch.float32)
    values = expect.shape(got, want.shape, CALL)
    if not np.allclose(values, want, atol=1e-3):
        for key, changes in GUESSES.items():
            if np.allclose(values, reference(k, positions, rope, **changes), atol=1e-3):
                raise Failed(key)
    expect.close(got, torch.from_numpy(want), CALL, 1e-3)
