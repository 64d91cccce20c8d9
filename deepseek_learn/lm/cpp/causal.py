"""Causal attention over a prompt (`causal.cpp`)."""

import torch
from torch import Tensor

from .library import CausalPrompt, load


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Attend from each token of a sequence to those up to it.

    Args:
        q: the queries in float32, of shape `[H, T, D]`, D contiguous.
        k: the keys, of shape `[G, T, D]`, where G divides H: H/G heads share each.
        v: the values, of shape `[G, T, Dv]`.
        scale: the factor of the scores.

    Returns:
        The heads' outputs, of shape `[H, T, Dv]`, stored as `[T, H, Dv]`.
    """
    heads, tokens, dim = q.shape
    y = q.new_empty(tokens, heads, v.shape[2]).transpose(0, 1)
    sides = {"q": q, "k": k, "v": v, "y": y}
    strides = {
        f"{name}_{axis}": x.stride(i)
        for name, x in sides.items()
        for i, axis in enumerate(("head", "token"))
    }
    addresses = {name: x.data_ptr() for name, x in sides.items()}
    sizes = {"heads": heads, "groups": len(k), "tokens": tokens}
    sizes |= {"dim": dim, "value_dim": v.shape[2]}
    library, threads = load(), torch.get_num_threads()
    prompt = CausalPrompt(**addresses, **sizes, **strides, scale=scale)
    scratch = q.new_empty(library.causal_scratch_floats(prompt, threads))
    prompt.scratch = scratch.data_ptr()
    library.causal_attend(prompt, threads)
    return y
