"""Answers to `accept_a_draft`: the starter, right ones and wrong ones."""

# %% starter
import torch


def judge(p, q, draft, u):
    ...

# %% solution
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% right: with the minimum, token by token
import torch


def judge(p, q, draft, u):
    chance = min(1.0, p[draft].item() / q[draft].item())
    rest = torch.tensor([max(a - b, 0.0) for a, b in zip(p.tolist(), q.tolist())])
    return [u < chance, rest / rest.sum()]

# %% wrong: a little more than the draft's probability
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / (q[draft] + 0.01)
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: draws its own u
import torch


def judge(p, q, draft, u):
    stands = torch.rand(()) < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: only if it is the most likely token
import torch


def judge(p, q, draft, u):
    stands = draft == p.argmax()
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: the ratio inverted
import torch


def judge(p, q, draft, u):
    stands = u < q[draft] / p[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: the model's probability alone
import torch


def judge(p, q, draft, u):
    stands = u < p[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: accepts at exactly the probability
import torch


def judge(p, q, draft, u):
    stands = u <= p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: a tensor instead of a bool
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return stands, rest / rest.sum()

# %% wrong: in float64
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), (rest / rest.sum()).double()

# %% wrong: resampled from all of p
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = p
    return bool(stands), rest / rest.sum()

# %% wrong: the draft removed from p
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = p.clone()
    rest[draft] = 0
    return bool(stands), rest / rest.sum()

# %% wrong: the absolute difference
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).abs()
    return bool(stands), rest / rest.sum()

# %% wrong: residual not normalized
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest

# %% wrong: always accepted
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return True, rest / rest.sum()
