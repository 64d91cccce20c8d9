"""The fewest directions that hold a share of the mean square of what is kept."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "keep(y, share)"


def check(answer, rng) -> None:
    expect.function(answer, "keep")
    for trial in range(8):
        size = int(rng.integers(5, 10))
        y = tokens(rng, size)
        wanted = {0: 1, 1: size}.get(trial, int(rng.integers(2, size - 1)))
        if trial == 2:
            y, wanted = y[:4], 2  # fewer tokens than numbers
        held = np.cumsum(np.linalg.svd(y, compute_uv=False) ** 2) / (y**2).sum()
        share = float(np.append(0, held)[wanted - 1] + held[wanted - 1]) / 2
        got = expect.call(answer, torch.from_numpy(y).float(), share)
        compare(got, y, share, wanted)
    y = just_half(rng)
    got = expect.call(answer, torch.from_numpy(y).float(), 0.5)
    compare(got, y, 0.5, 1)


def just_half(rng) -> np.ndarray:
    """`[5, 5]`, one direction of which holds exactly half, free of rounding."""
    y = np.diag([2.0, 1, 1, 1, 1] * rng.choice([-1, 1], 5))
    return rng.permutation(rng.permutation(y).T)


def tokens(rng, size: int) -> np.ndarray:
    """`[40, size]`, in which each direction holds less; their mean is far from 0."""
    turn = np.linalg.qr(rng.normal(size=(size, size)))[0]
    y = rng.normal(size=(40, size)) * 0.75 ** np.arange(size) + rng.normal(size=size)
    return y @ turn


def compare(got, y, share, wanted) -> None:
    expect.tensor(got, CALL, torch.float32)
    size, shape = y.shape[1], tuple(got.shape)
    if len(shape) != 2 or shape[0] != size:
        raise Failed("shape", got=shape, size=size)
    u, count = expect.shape(got, shape, CALL), shape[1]
    if not np.allclose(u.T @ u, np.eye(count), atol=1e-3):
        raise Failed("orthonormal")
    kept = float(((y @ u) ** 2).sum() / (y**2).sum())
    facts = {"got": count, "kept": 100 * kept, "share": 100 * share}
    centered = np.linalg.eigh(np.cov(y.T))[1][:, size - count :]
    if 0 < count < size and np.allclose(u @ u.T, centered @ centered.T, atol=1e-3):
        raise Failed("mean")
    if kept < share and count >= wanted:
        raise Failed("other", wanted=wanted, **facts)
    if kept < share:
        raise Failed("few", **facts)
    if count > wanted:
        raise Failed("many", wanted=wanted, **facts)
