"""Sampling of the next token, and verification of drafts in speculative decoding."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import Step
from .model import LanguageModel


def probabilities(
    logits: Tensor, temperature: float = 1.0, top_p: float = 1.0
) -> Tensor:
    """Convert logits to the distribution from which the next token is sampled.

    Args:
        logits: a tensor of shape `[..., V]`.
        temperature: 0 selects the most likely token. Values above 1 flatten the
            distribution.
        top_p: sample only from the smallest set of most likely tokens whose
            probabilities add up to at least this value (Holtzman et al. 2019, "The
            curious case of neural text degeneration", arXiv 1904.09751).
    """
    if not temperature:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    # subtract the maximum so that a tiny temperature can only overflow to -inf
    logits = logits.float() - logits.amax(-1, keepdim=True).float()
    p = (logits / temperature).softmax(-1)
    if top_p < 1:
        ordered, index = p.sort(-1, descending=True)  # [..., V] each
        beyond = ordered.cumsum(-1) - ordered >= top_p  # never drops the first token
        p = p.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), 0)
        p = p / p.sum(-1, keepdim=True)  # verification compares p with q: both sum to 1
    return p


@dataclass(frozen=True)
class Sampler:
    """A sampler that turns the model's hidden vectors into distributions and tokens."""

    model: LanguageModel
    temperature: float
    top_p: float
    generator: torch.Generator

    def distribution(self, hidden: Tensor) -> Tensor:
        """Map hidden vectors to next-token distributions.

        The vectors have the shape `[..., D]`, and the distributions have the shape
        `[..., V]`.
        """
        return self.of_logits(self.model.lm_head(hidden))

    def of_logits(self, logits: Tensor) -> Tensor:
        """Map logits of shape `[..., V]` to distributions of the same shape."""
        if not torch.isfinite(logits).all():
            raise ValueError(
                "logits must be finite; got NaN or infinity (are the weights intact?)."
            )
        return probabilities(logits, self.temperature, self.top_p)

    def draw(self, p: Tensor) -> Tensor:
        """Sample one token from each distribution.

        `p` has the shape `[B, V]`, and the result has the shape `[B, 1]`.
        """
        return p.multinomial(1, generator=self.generator)

    def draft(
        self, hidden: Tensor, following: Tensor, last: Tensor, step: Step
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
        ahead = self.model.ahead(hidden, following, 0, step)  # [B, T, D]
        q = self.distribution(at(ahead, last))  # [B, V]
        return self.draw(q), q

    def verify(self, draft: Tensor, q: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
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
        accept = accepted(draft, q, p[:, 0], self.generator)
        # add 1e-30 because multinomial fails if the residual rounds to all zeros
        residual = (p[:, 0] - q).clamp_min(0) + 1e-30  # [B, V], need not sum to 1
        return accept, self.draw(torch.where(accept, p[:, 1], residual))


def seeded(device: torch.device | str, seed: int | None) -> torch.Generator:
    generator = torch.Generator(device)
    generator.manual_seed(seed) if seed is not None else generator.seed()
    return generator


def at(hidden: Tensor, positions: Tensor) -> Tensor:
    """Select the vector at one position in each row.

    `hidden` has the shape `[B, T, D]`, `positions` has the shape `[B]`, and the result
    has the shape `[B, D]`.
    """
    return hidden[torch.arange(len(positions), device=hidden.device), positions]


def accepted(draft: Tensor, q: Tensor, p: Tensor, generator: torch.Generator) -> Tensor:
    """Decide which drafts to accept.

    The drafts have the shape `[B, 1]` and were sampled from `q`, of shape `[B, V]`.

    A draft is accepted with probability min(1, p/q). If every rejected draft is
    resampled from the residual distribution max(p - q, 0), the tokens are distributed
    according to `p`.
    """
    ratio = p.gather(1, draft) / q.gather(1, draft).clamp_min(1e-30)  # [B, 1]
    return torch.rand(ratio.shape, device=p.device, generator=generator) < ratio
