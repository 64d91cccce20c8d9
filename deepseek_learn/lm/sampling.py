"""Sampling of the next token: temperature and top-p."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

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
        return self.of_logits(self.model.logits(hidden))

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
