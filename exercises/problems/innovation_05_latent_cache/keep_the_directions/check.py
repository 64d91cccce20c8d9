"""Find the fewest directions that hold a given share of cached vectors' mean square."""

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
        rank = {0: 1, 1: size}.get(trial, int(rng.integers(2, size - 1)))
        if trial == 2:
            y, rank = y[:4], 2  # fewer tokens than dimensions
        energy = np.cumsum(np.linalg.svd(y, compute_uv=False) ** 2) / (y**2).sum()
        share = float(np.append(0, energy)[rank - 1] + energy[rank - 1]) / 2
        got = expect.call(answer, torch.from_numpy(y).float(), share)
        compare(got, y, share, rank)
    y = just_half(rng)
    got = expect.call(answer, torch.from_numpy(y).float(), 0.5)
    compare(got, y, 0.5, 1)


def just_half(rng) -> np.ndarray:
    """Return `[5, 5]`, in which one direction holds exactly half, without rounding."""
    y = np.diag([2.0, 1, 1, 1, 1] * rng.choice([-1, 1], 5))
    return rng.permutation(rng.permutation(y).T)


def tokens(rng, size: int) -> np.ndarray:
    """Return `[40, size]`: each direction has less energy; the mean is far from 0."""
    rotation = np.linalg.qr(rng.normal(size=(size, size)))[0]
    y = rng.normal(size=(40, size)) * 0.75 ** np.arange(size) + rng.normal(size=size)
    return y @ rotation


def compare(got, y, share, rank) -> None:
    expect.tensor(got, CALL, torch.float32)
    size, shape = y.shape[1], tuple(got.shape)
    if len(shape) != 2 or shape[0] != size:
        raise Failed("shape", got=shape, size=size)
    u, count = expect.shape(got, shape, CALL), shape[1]
    if not np.allclose(u.T @ u, np.eye(count), atol=1e-3):
        raise Failed("orthonormal")
    energy = float(((y @ u) ** 2).sum() / (y**2).sum())
    facts = {"got": count, "kept": 100 * energy, "share": 100 * share}
    centered = np.linalg.eigh(np.cov(y.T))[1][:, size - count :]
    if 0 < count < size and np.allclose(u @ u.T, centered @ centered.T, atol=1e-3):
        raise Failed("mean")
    if energy < share and count >= rank:
        raise Failed("other", wanted=rank, **facts)
    if energy < share:
        raise Failed("few", **facts)
    if count > rank:
        raise Failed("many", wanted=rank, **facts)
