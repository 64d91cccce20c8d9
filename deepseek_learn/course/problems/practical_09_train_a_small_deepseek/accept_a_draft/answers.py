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

# %% wrong: a u of its own
import torch


def judge(p, q, draft, u):
    stands = torch.rand(()) < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: only if it is the likeliest
import torch


def judge(p, q, draft, u):
    stands = draft == p.argmax()
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: the ratio the other way up
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

# %% wrong: just the probability is enough
import torch


def judge(p, q, draft, u):
    stands = u <= p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest / rest.sum()

# %% wrong: a tensor for a bool
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

# %% wrong: drawn anew from the whole
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = p
    return bool(stands), rest / rest.sum()

# %% wrong: the draft struck out
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = p.clone()
    rest[draft] = 0
    return bool(stands), rest / rest.sum()

# %% wrong: the difference either way
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).abs()
    return bool(stands), rest / rest.sum()

# %% wrong: what is left, not divided
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return bool(stands), rest

# %% wrong: always
import torch


def judge(p, q, draft, u):
    stands = u < p[draft] / q[draft]
    rest = (p - q).clamp_min(0)
    return True, rest / rest.sum()
