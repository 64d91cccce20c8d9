"""Causal attention, with PyTorch's kernel or with ours for the prompt of a `Decoding`."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
import torch.nn.functional as F
from torch import Tensor

from .cpp import causal

_ours = ContextVar("ours", default=False)


@contextmanager
def own_kernel() -> Iterator[None]:
    """Let `attend` use the C++ kernel inside the block, for one sequence without a mask.

    There must be a C++ compiler, and no gradients are computed.
    """
    token = _ours.set(True)
    try:
        yield
    finally:
        _ours.reset(token)


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """Return `softmax(scale q k^T) v` for each head.

    Args:
        q: the queries of the last T of S tokens, a tensor of shape `[B, H, T, D]`.
        k: the keys, of shape `[B, G, S, D]`. G divides H: H/G heads share each of them.
        v: the values, of shape `[B, G, S, Dv]`.
        mask: which tokens are attended to, of shape `[B, 1, T, S]`. Without it, these
            are all tokens up to the query's own; T must be 1 or S then.
        scale: 1/√D unless it is given.

    Returns:
        A tensor of shape `[B, H, T, Dv]`.
    """
    width, is_causal = v.shape[3], mask is None and 1 < q.shape[2] == k.shape[2]
    if is_causal and _ours.get() and len(q) == 1 and q.dtype == torch.float32:
        scale = q.shape[3] ** -0.5 if scale is None else scale
        q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
        return causal.causal_attention(q[0], k[0], v[0], scale)[None]
    if width != q.shape[3]:
        # pad to one size and make contiguous; otherwise, the full score matrix is
        # materialized and memory grows with the square of the length
        size = max(q.shape[3], width)
        scale = q.shape[3] ** -0.5 if scale is None else scale
        q, k, v = (F.pad(x, (0, size - x.shape[3])).contiguous() for x in (q, k, v))
    shared = q.shape[1] != k.shape[1]
    out = F.scaled_dot_product_attention(
        q, k, v, mask, is_causal=is_causal, scale=scale, enable_gqa=shared
    )
    return out[..., :width]
