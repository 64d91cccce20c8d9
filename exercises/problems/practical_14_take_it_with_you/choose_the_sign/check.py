"""Choose the sign of each group's scale by the squared error of rounding."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "scales(weight, bits)"


def check(answer, rng) -> None:
    expect.function(answer, "scales")
    for trial, bits in enumerate((4, 3, 2, 4, 3, 5)):
        groups, size = (int(n) for n in rng.integers(6, 12, size=2))
        groups, size = (1, 8) if trial == 1 else (groups, size)
        weight = rng.normal(size=(groups, size)) * rng.uniform(0.1, 5, (groups, 1))
        if trial != 1:
            crowd(weight, rng)
        weight = weight.astype("float32")
        got = expect.call(answer, torch.from_numpy(weight), bits)
        compare(got, weight.astype(float), bits)


def crowd(weight: np.ndarray, rng) -> None:
    """Put many large weights opposite to the largest one, in every other group."""
    top = 1.3 * np.abs(weight).max(1)
    sign = rng.choice([-1, 1], len(weight))
    weight[:, 0] = sign * top
    for row in range(0, len(weight), 2):
        weight[row, 1:5] = -sign[row] * top[row] * rng.uniform(0.97, 0.99, 4)
    rng.permuted(weight, axis=1, out=weight)


def squared_error(weight: np.ndarray, scale: np.ndarray, bits: int) -> np.ndarray:
    half, s = 2 ** (bits - 1), scale[:, None]
    codes = np.clip(np.rint(weight / s), -half, half - 1)
    return ((weight - s * codes) ** 2).sum(1)


def compare(got, weight: np.ndarray, bits: int) -> None:
    expect.tensor(got, CALL)
    value = expect.shape(got, (len(weight),), CALL)
    size = np.abs(weight).max(1) / 2 ** (bits - 1)
    wrong = ~(np.abs(np.abs(value) - size) <= 1e-5 * size)
    if wrong.any():
        group = int(wrong.argmax())
        raise Failed("size", group=group, got=value[group], want=size[group])
    plus, minus = (squared_error(weight, sign * size, bits) for sign in (1, -1))
    own = np.where(value > 0, plus, minus)
    worse = own > np.minimum(plus, minus) * (1 + 1e-4)
    if not worse.any():
        return
    if len(value) > 3 and (value > 0).all():
        raise Failed("positive")
    extreme = -np.sign(weight[range(len(weight)), np.abs(weight).argmax(1)])
    if len(value) > 3 and (np.sign(value) == extreme).all():
        raise Failed("largest")
    group = int(worse.argmax())
    other = float(np.minimum(plus, minus)[group])
    raise Failed("worse", group=group, got=float(own[group]), want=other)
