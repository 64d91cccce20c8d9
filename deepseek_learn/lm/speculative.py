"""Speculative decoding: a cheap block drafts a token, and the model verifies it.

The model reads its last token and the draft in one pass, which takes hardly longer than one
token, since loading the weights takes the time. Verification keeps the distribution of the
sampled tokens exactly (Leviathan et al. 2023, "Fast inference from transformers via
speculative decoding", arXiv 2211.17192). The draft is that of multi-token prediction
(`LanguageModel.ahead`).

Lesson: `notebooks/practical/09_train_a_small_deepseek.ipynb`.
"""

import torch
from torch import Tensor

from .cache import Step
from .sampling import Sampler, at


def draft_ahead(
    sampler: Sampler, hidden: Tensor, following: Tensor, last: Tensor, step: Step
) -> tuple[Tensor, Tensor]:
    """Draft the token after the next one.

    Args:
        hidden: the main model's hidden vectors in this step, of shape `[B, T, D]`.
        following: the token after each position, of shape `[B, T]`.
        last: the position to draft from in each row, of shape `[B]`. The block
            still processes all positions, because its own cache has to store them.

    Returns:
        The drafts, of shape `[B, 1]`, and their distributions, of shape `[B, V]`.
    """
    ahead = sampler.model.ahead(hidden, following, 0, step)  # [B, T, D]
    q = sampler.distribution(at(ahead, last))  # [B, V]
    return sampler.draw(q), q


def verify(
    sampler: Sampler, draft: Tensor, q: Tensor, p: Tensor
) -> tuple[Tensor, Tensor]:
    """Accept or reject each draft and sample the next token.

    Args:
        draft: the drafts, of shape `[B, 1]`, sampled from `q`.
        q: the distributions of the drafts, of shape `[B, V]`.
        p: the model's distributions at the draft and after it, of shape
            `[B, 2, V]`.

    Returns:
        A mask of the accepted drafts and the sampled tokens, both of shape
        `[B, 1]`. Each token follows an accepted draft or replaces a rejected one.
    """
    accept = accepted(draft, q, p[:, 0], sampler.generator)
    # add 1e-30 because multinomial fails if the residual rounds to all zeros
    residual = (p[:, 0] - q).clamp_min(0) + 1e-30  # [B, V], need not sum to 1
    return accept, sampler.draw(torch.where(accept, p[:, 1], residual))


def accepted(draft: Tensor, q: Tensor, p: Tensor, generator: torch.Generator) -> Tensor:
    """Decide which drafts to accept.

    The drafts have the shape `[B, 1]` and were sampled from `q`, of shape `[B, V]`.

    A draft is accepted with probability min(1, p/q). If every rejected draft is
    resampled from the residual distribution max(p - q, 0), the tokens are distributed
    according to `p`.
    """
    ratio = p.gather(1, draft) / q.gather(1, draft).clamp_min(1e-30)  # [B, 1]
    return torch.rand(ratio.shape, device=p.device, generator=generator) < ratio
