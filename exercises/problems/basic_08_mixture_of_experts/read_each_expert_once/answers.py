"""Answers to `read_each_expert_once`: the starter, right ones and wrong ones."""

# %% starter
import torch


def dispatch(x, chosen, weights, experts):
    ...

# %% solution
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        token, slot = (chosen == e).nonzero(as_tuple=True)
        done = experts[e](x[token]) * weights[token, slot, None]
        result.index_add_(0, token, done)
    return result

# %% right: sorted by expert, one slice per expert
import torch


def dispatch(x, chosen, weights, experts):
    flat = chosen.flatten()
    order = flat.argsort()
    token = order // chosen.shape[1]
    sizes = flat.bincount(minlength=len(experts)).tolist()
    done = [
        expert(part)
        for expert, part in zip(experts, x[token].split(sizes))
        if len(part)
    ]
    done = torch.cat(done) * weights.flatten()[order, None]
    return torch.stack([done[token == n].sum(0) for n in range(len(x))])

# %% wrong: token by token
import torch


def dispatch(x, chosen, weights, experts):
    rows = []
    for token, some, shares in zip(x, chosen.tolist(), weights):
        rows.append(sum(w * experts[e](token[None])[0] for e, w in zip(some, shares)))
    return torch.stack(rows)

# %% wrong: once per slot
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for slot in range(chosen.shape[1]):
        for e in chosen[:, slot].unique().tolist():
            token = (chosen[:, slot] == e).nonzero()[:, 0]
            result[token] += experts[e](x[token]) * weights[token, slot, None]
    return result

# %% wrong: every expert, used or not
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for e in range(len(experts)):
        token, slot = (chosen == e).nonzero(as_tuple=True)
        done = experts[e](x[token]) * weights[token, slot, None]
        result.index_add_(0, token, done)
    return result

# %% wrong: all tokens to every expert
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        result += experts[e](x) * (weights * (chosen == e)).sum(1, keepdim=True)
    return result

# %% wrong: unweighted
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        token, slot = (chosen == e).nonzero(as_tuple=True)
        done = experts[e](x[token])
        result.index_add_(0, token, done)
    return result

# %% wrong: in float64
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x).double()
    for e in chosen.unique().tolist():
        token, slot = (chosen == e).nonzero(as_tuple=True)
        done = experts[e](x[token]) * weights[token, slot, None]
        result.index_add_(0, token, done.double())
    return result

# %% wrong: the first weight for every slot
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        token, slot = (chosen == e).nonzero(as_tuple=True)
        done = experts[e](x[token]) * weights[token, :1]
        result.index_add_(0, token, done)
    return result

# %% wrong: small weights dropped
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        token, slot = ((chosen == e) & (weights > 1e-4)).nonzero(as_tuple=True)
        done = experts[e](x[token]) * weights[token, slot, None]
        result.index_add_(0, token, done)
    return result

# %% wrong: the last expert overwrites the others
import torch


def dispatch(x, chosen, weights, experts):
    result = torch.zeros_like(x)
    for e in chosen.unique().tolist():
        token, slot = (chosen == e).nonzero(as_tuple=True)
        done = experts[e](x[token]) * weights[token, slot, None]
        result[token] = done
    return result
