"""Answers to `keep_the_likeliest`: the starter, right ones and wrong ones."""

# %% starter
import torch


def nucleus(p, top):
    ...

# %% solution
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before >= top - 1e-6, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept / kept.sum()

# %% right: token by token
import torch


def nucleus(p, top):
    kept, total = torch.zeros_like(p), 0.0
    for i in p.argsort(descending=True).tolist():
        kept[i] = p[i]
        total += p[i].item()
        if total >= top - 1e-6:
            break
    return kept / kept.sum()

# %% wrong: one token too few
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before + ordered >= top - 1e-6, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept / kept.sum()

# %% wrong: not normalized
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before >= top - 1e-6, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept

# %% wrong: in float64
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before >= top - 1e-6, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return (kept / kept.sum()).double()

# %% wrong: tokens that each reach the threshold
import torch


def nucleus(p, top):
    kept = torch.where(p >= top, p, torch.zeros_like(p))
    return kept / kept.sum()

# %% wrong: in sorted order
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before >= top - 1e-6, 0)
    kept = ordered
    return kept / kept.sum()

# %% wrong: those within the threshold, and the first
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill((before + ordered > top) & (before > 0), 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept / kept.sum()

# %% wrong: the least likely
import torch


def nucleus(p, top):
    ordered, index = p.sort()
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before >= top - 1e-6, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept / kept.sum()

# %% wrong: one token too many
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before - ordered >= top, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept / kept.sum()

# %% wrong: softmax of the kept probabilities
import torch


def nucleus(p, top):
    ordered, index = p.sort(descending=True)
    before = ordered.cumsum(0) - ordered
    ordered = ordered.masked_fill(before >= top - 1e-6, 0)
    kept = torch.zeros_like(p).scatter(0, index, ordered)
    return kept.softmax(0)
