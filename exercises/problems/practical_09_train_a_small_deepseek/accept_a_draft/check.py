"""Speculative decoding: when a draft is accepted, and the residual distribution."""

import numpy as np
import torch

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

CALL = "judge(p, q, draft, u)"


# (p, q, u): `u` equals the probability, lies between p and p / q, or p is 0
EDGES = (
    ([0.25, 0.5, 0.25], [0.5, 0.25, 0.25], 0.5),
    ([0.125, 0.875], [0.5, 0.5], 0.25),
    ([0.25, 0.75], [0.5, 0.5], 0.375),
    ([0.0, 0.5, 0.5], [0.25, 0.5, 0.25], 0.0),
    ([0.25, 0.75], [0.75, 0.25], 0.0),
    # just below the probability, however small the draft's own probability is
    ([0.0078125, 0.9921875], [0.015625, 0.984375], 0.49),
    ([0.125, 0.875], [0.25, 0.75], 0.499),
    # an answer that draws its own `u` decides differently in one of these
    *[([0.25, 0.75], [0.5, 0.5], u) for u in (0.499, 0.501) * 20],
)


def check(answer, rng) -> None:
    expect.function(answer, "judge")
    for i in range(len(EDGES) + 19):
        size = int(rng.integers(4, 9))
        p, q = (rng.dirichlet(np.full(size, 0.7)) for _ in range(2))
        p, q = (torch.from_numpy(x).float() for x in (p, q))
        draft = int(rng.choice(size, p=q.double().numpy() / q.double().sum().item()))
        ratio = float(p[draft] / q[draft])
        u = float(rng.uniform(0, 1))
        if abs(u - min(ratio, 1)) < 0.02:
            u = 0.5 * min(ratio, 1)
        if i % 3 == 0 and ratio > 1:  # more likely under the model: always accepted
            u = 0.999
        if i < len(EDGES):
            p, q, draft, u = (
                torch.tensor(EDGES[i][0]),
                torch.tensor(EDGES[i][1]),
                0,
                EDGES[i][2],
            )
        got = expect.call(answer, p, q, draft, u)
        accepted, residual = expect.parts(got, 2, CALL)
        compare(accepted, residual, p, q, draft, u)


def compare(accepted, residual, p, q, draft, u) -> None:
    accepted = expect.boolean(accepted, CALL + "[0]")
    ratio = float(p[draft] / q[draft])
    if accepted != (u < ratio):
        key = "refused" if u < ratio else "stood"
        raise Failed(key, u=u, p=float(p[draft]), q=float(q[draft]))
    expect.tensor(residual, CALL + "[1]", torch.float32)
    p, q = p.double().numpy(), q.double().numpy()
    excess = np.maximum(p - q, 0)
    want = excess / excess.sum()
    values = expect.shape(residual, want.shape, CALL + "[1]")
    without_draft = np.where(np.arange(len(p)) == draft, 0, p)
    guesses = {
        "whole": p,
        "without": without_draft / without_draft.sum(),
        "absolute": np.abs(p - q) / np.abs(p - q).sum(),
        "sum": excess,
    }
    if not np.allclose(values, want, atol=1e-4):
        for key, guess in guesses.items():
            if np.allclose(values, guess, atol=1e-4):
                raise Failed(key)
    expect.close(residual, torch.from_numpy(want), CALL + "[1]", 1e-5)
