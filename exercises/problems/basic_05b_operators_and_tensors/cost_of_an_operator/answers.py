"""Answers to `cost_of_an_operator`: the starter, right ones and wrong ones."""

# %% starter
def local_attention_flops(q, k, v, window, *, out):
    ...

# %% solution
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return 2 * B * heads * pairs * (E + v.shape[-1])

# %% right: a mask, counted
import torch


def local_attention_flops(q, k, v, window, *, out):
    seen = torch.ones(q.shape[-2], k.shape[-2]).tril().triu(1 - window)
    return 2 * seen.sum() * (q[..., 0, :].numel() + out[..., 0, :].numel())

# %% right: a closed formula
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    full = min(window, T)
    pairs = T * full - full * (full - 1) / 2
    return 2.0 * B * heads * pairs * (E + out.shape[-1])

# %% wrong: all pairs
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return 2 * B * heads * T * T * (E + v.shape[-1])

# %% wrong: a full window everywhere
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return 2 * B * heads * T * window * (E + v.shape[-1])

# %% wrong: key heads instead of query heads
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return 2 * B * k.shape[1] * pairs * (E + v.shape[-1])

# %% wrong: MACs
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return B * heads * pairs * (E + v.shape[-1])

# %% wrong: E for the values too
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return 2 * B * heads * pairs * 2 * E

# %% wrong: the scores only
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return 2 * B * heads * pairs * E

# %% wrong: one key too many
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window + 1) for i in range(T))
    return 2 * B * heads * pairs * (E + v.shape[-1])

# %% wrong: the query's own position left out
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i, window) for i in range(T))
    return 2 * B * heads * pairs * (E + v.shape[-1])

# %% wrong: assumes that the window is shorter than the sequence
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = T * window - window * (window - 1) // 2
    return 2 * B * heads * pairs * (E + v.shape[-1])

# %% wrong: assumes a window of at least 2
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, max(window, 2)) for i in range(T))
    return 2 * B * heads * pairs * (E + v.shape[-1])

# %% wrong: a single batch entry
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    return 2 * heads * pairs * (E + v.shape[-1])

# %% wrong: modifies the operator's output
def local_attention_flops(q, k, v, window, *, out):
    B, heads, T, E = q.shape
    pairs = sum(min(i + 1, window) for i in range(T))
    out += 1
    return 2 * B * heads * pairs * (E + out.shape[-1])
