"""Nucleus sampling: the most likely tokens that together hold at least `top`."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "nucleus(p, top)"


def check(answer, rng) -> None:
    expect.function(answer, "nucleus")
    for i in range(7):
        size = int(rng.integers(5, 20))
        p = rng.dirichlet(np.full(size, 0.5))
        top = float(rng.uniform(0.3, 0.95))
        if i == 0:  # the most likely token alone exceeds `top`
            p = np.array([0.1, 0.7, 0.15, 0.05])
            top = 0.5
        if i == 1:  # two tokens hold exactly `top`
            p, top = np.array([0.125, 0.5, 0.125, 0.25]), 0.75
        if i == 2:
            top = 1.0
        if i == 5:  # more than one token holds, but less than two hold
            p, top = (
                rng.permutation([0.4, 0.3, 0.2, 0.1]),
                float(rng.uniform(0.45, 0.65)),
            )
        if i == 3:
            p, top = np.array([1.0]), 0.5  # there is only one token
        if i == 4:
            top = 1e-3  # the most likely token is always kept
        probabilities = torch.from_numpy(p).float()
        total = np.cumsum(np.sort(probabilities.double().numpy())[::-1])
        if np.abs(total - top + 1e-6).min() < 5e-7:
            continue  # a rounding error would decide the result
        got = expect.call(answer, probabilities, top)
        expect.tensor(got, CALL, torch.float32)
        values = expect.shape(got, p.shape, CALL)
        if not np.isfinite(values).all():
            raise Failed("none")
        compare(values, probabilities.double().numpy(), top, got)


def truncate(p: np.ndarray, count: int) -> np.ndarray:
    mask = np.zeros_like(p)
    mask[np.argsort(-p)[:count]] = 1
    return p * mask


def compare(values, p, top, got) -> None:
    total = np.cumsum(np.sort(p)[::-1])
    count = min(int((total < top - 1e-6).sum()) + 1, len(p))
    want = truncate(p, count) / truncate(p, count).sum()
    guesses = {"sum": truncate(p, count)}
    if count > 1:
        guesses["short"] = truncate(p, count - 1) / truncate(p, count - 1).sum()
    guesses["each"] = np.where(p >= top, p, 0) / max(p[p >= top].sum(), 1e-9)
    if not np.allclose(values, want, atol=1e-5):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-5):
                raise Failed(key)
    expect.close(got, torch.from_numpy(want), CALL, 1e-5)
