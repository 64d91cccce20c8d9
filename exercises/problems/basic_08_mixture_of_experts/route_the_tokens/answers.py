"""Answers to `route_the_tokens`: the starter, right ones and wrong ones."""

# %% starter
import torch


def route(scores, bias, groups, top_groups, top_k):
    ...

# %% solution
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% right: token by token
import torch


def route(scores, bias, groups, top_groups, top_k):
    chosen, weights = [], []
    for row in scores:
        steered = row + bias
        parts = steered.chunk(groups)
        worth = [sum(sorted(part.tolist())[-2:]) for part in parts]
        best = sorted(range(groups), key=lambda g: -worth[g])[:top_groups]
        size = len(row) // groups
        among = [g * size + e for g in best for e in range(size)]
        among.sort(key=lambda e: -steered[e].item())
        chosen.append(among[:top_k][::-1])
        weights.append(row[chosen[-1]] / row[chosen[-1]].sum())
    return [torch.tensor(chosen), torch.stack(weights)]

# %% wrong: the bias included in the weights
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = (scores + bias).gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: the three best of a group
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(3).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: one choice of groups for the whole batch
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.sum(0).topk(top_groups).indices.expand(len(value), -1)
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: no bias in the choice
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = scores.unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: the best one of a group
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(1).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: the sum over a whole group
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: experts in int32
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen.int(), weights / weights.sum(1, keepdim=True)

# %% wrong: no group limit
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: unnormalized weights
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights

# %% wrong: excluded groups masked with zero
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], 0.0).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights / weights.sum(1, keepdim=True)

# %% wrong: expert indices within the group
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen % (scores.shape[1] // groups), weights / weights.sum(1, keepdim=True)

# %% wrong: weights by softmax
import torch


def route(scores, bias, groups, top_groups, top_k):
    steered = (scores + bias).unflatten(1, (groups, -1))
    value = steered.topk(2).values.sum(2)
    kept = value.topk(top_groups).indices
    out = torch.ones_like(value, dtype=torch.bool).scatter(1, kept, False)
    steered = steered.masked_fill(out[:, :, None], float("-inf")).flatten(1)
    chosen = steered.topk(top_k).indices
    weights = scores.gather(1, chosen)
    return chosen, weights.softmax(1)
