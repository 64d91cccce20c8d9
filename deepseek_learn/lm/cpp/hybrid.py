"""The operations of hybrid attention (`hybrid.cpp`), which a `Program` executes.

They keep the compressed entries up to date, choose among them, and collect what a token
attends to; see `lm/hybrid.py` for the attention itself.
"""

import torch
from torch import Tensor, nn

from .operations import Choose, Compress, Gather
from .program import Program, is_bfloat16


def compress(
    program: Program,
    both: Tensor,
    tokens: Tensor,
    bias: Tensor,
    norm: nn.RMSNorm,
    turns: Tensor,
    entries: Tensor,
) -> None:
    """Write an entry whenever its window is complete (see `lm.hybrid.WindowPooling`).

    Args:
        both: the contents and the gates of the new token, `[2 width]`.
        tokens: memory for those of the last tokens, `[2 rate, 2 width]`.
        bias: added to the gates, `[rate, width]`; the width is that of an entry, or
            twice as much if windows overlap.
        turns: the cosines and sines at each position, `[capacity, r/2, 2]`.
        entries: the cache of the entries, `[1, windows, d]`.
    """
    bias, weight = bias.detach().float(), norm.weight.detach().float()
    rate, width, dim = *bias.shape, entries.shape[2]
    program.append(
        *(Compress, both, tokens, torch.empty(3, dim), bias, weight, turns, entries),
        *(rate, width // dim - 1, dim, 2 * turns.shape[1], entries.stride(1)),
        *(norm.eps, is_bfloat16(entries)),
    )


def choose(
    program: Program, q: Tensor, weights: Tensor, entries: Tensor, rate: int, top: int
) -> tuple[Tensor, Tensor]:
    """Choose the complete entries with the best Σ_h w_h relu(q_h · e).

    Args:
        q, weights: `[H, d]` and `[H]`.
        entries: the cache of the entries, `[1, windows, d]`.

    Returns:
        The numbers of the chosen entries and how many they are, int32 tensors of
        shape `[windows]` and int64 of shape `[1]`.
    """
    windows = entries.shape[1]
    chosen = torch.empty(windows, dtype=torch.int32)
    count, scores = torch.zeros(1, dtype=torch.int64), torch.empty(windows)
    program.append(
        *(Choose, q, weights, entries, chosen, scores, count),
        *(*q.shape, entries.stride(1), rate, top, is_bfloat16(entries)),
    )
    return chosen, count


def gather(
    program: Program,
    recent: Tensor,
    window: int,
    entries: Tensor | None = None,
    rate: int = 1,
    choice: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """Collect the vectors of the last tokens, and the entries that are chosen.

    Args:
        recent: the cache of the tokens, `[1, capacity, d]`.
        entries: the cache of the entries, `[1, windows, d]`.
        choice: of `choose`; without it, all complete entries are taken.

    Returns:
        The vectors, `[1, n, d]`, and how many there are, int64 of shape `[1]`.
    """
    most = min(window, recent.shape[1])
    most += entries.shape[1] if entries is not None else 0
    keys = torch.empty(1, most, recent.shape[2])
    count = torch.zeros(1, dtype=torch.int64)
    stride = entries.stride(1) if entries is not None else 0
    program.append(
        *(Gather, recent, entries, *(choice or (None, None)), keys, count),
        *(window, rate, recent.shape[2], recent.stride(1), stride),
        is_bfloat16(recent),
    )
    return keys, count
