"""Sampling of the next token: temperature, top-k, top-p and a repetition penalty."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .model import LanguageModel


def probabilities(
    logits: Tensor,
    temperature: float = 1.0,
    top_p: float = 1.0,
    top_k: int | None = None,
) -> Tensor:
    """Convert logits to the distribution from which the next token is sampled.

    Args:
        logits: a tensor of shape `[..., V]`.
        temperature: 0 selects the most likely token. Values above 1 flatten the
            distribution.
        top_p: sample only from the smallest set of most likely tokens whose
            probabilities add up to at least this value (Holtzman et al. 2019, "The
            curious case of neural text degeneration", arXiv 1904.09751).
        top_k: sample only from this many of the most likely tokens, before `top_p`
            (Fan et al. 2018, "Hierarchical neural story generation", arXiv 1805.04833).
    """
    if not temperature:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    # subtract the maximum so that a tiny temperature can only overflow to -inf
    logits = logits.float() - logits.amax(-1, keepdim=True).float()
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        values, kept = logits.topk(top_k)  # [..., k] each, so a tie keeps no more
        logits = torch.full_like(logits, -math.inf).scatter(-1, kept, values)
    p = logits.softmax(-1)
    if top_p < 1:
        ordered, index = p.sort(-1, descending=True)  # [..., V] each
        beyond = ordered.cumsum(-1) - ordered >= top_p  # never drops the first token
        p = p.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), 0)
        p = p / p.sum(-1, keepdim=True)  # verification compares p with q: both sum to 1
    return p


def penalized(logits: Tensor, history: Tensor, penalty: float) -> Tensor:
    """Make tokens that already occurred less likely.

    Their logits are divided by the penalty where they are positive, and multiplied by it
    elsewhere (Keskar et al. 2019, "CTRL: a conditional transformer language model for
    controllable generation", arXiv 1909.05858).

    Args:
        logits: a tensor of shape `[..., V]`.
        history: a boolean tensor that broadcasts to this shape.
        penalty: 1 changes nothing.
    """
    changed = torch.where(logits > 0, logits / penalty, logits * penalty)
    return torch.where(history, changed, logits)


@dataclass(frozen=True)
class SamplingRules:
    """How the next token is chosen; for each argument see `lm.stream`.

    Raises:
        ValueError: if an argument is out of range; the message names it.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    repetition_penalty: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        for fits, message in (
            (
                0 <= self.temperature < math.inf,
                f"temperature must be 0 or more, and finite; got {self.temperature}",
            ),
            (
                0 < self.top_p <= 1,
                f"top_p must be above 0 and at most 1; got {self.top_p}",
            ),
            (
                self.top_k is None or self.top_k >= 1,
                f"top_k must be at least 1, or None; got {self.top_k}",
            ),
            (
                0 < self.repetition_penalty < math.inf,
                f"repetition_penalty must be above 0, and finite; got "
                f"{self.repetition_penalty}",
            ),
            (
                self.seed is None or -(2**63) <= self.seed < 2**64,
                f"seed must be from -2**63 to 2**64 - 1, or None; got {self.seed}",
            ),
        ):
            if not fits:
                raise ValueError(f"{message}.")

    def sampler(self, model: LanguageModel, device: torch.device | str) -> "Sampler":
        """Return a sampler by these rules, whose generator is on the device."""
        generator = torch.Generator(device)
        if self.seed is None:
            generator.seed()
        else:
            generator.manual_seed(self.seed)
        return Sampler(model, self, generator)


@dataclass(frozen=True)
class Sampler:
    """A sampler that turns the model's hidden vectors into distributions and tokens."""

    model: LanguageModel
    rules: SamplingRules
    generator: torch.Generator

    def history(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """Return a mask of shape `[B, V]` that is True for the tokens of each prompt."""
        shape = len(prompts), self.model.config.vocab_size
        history = torch.zeros(shape, dtype=torch.bool, device=self.generator.device)
        for row, prompt in zip(history, prompts, strict=True):
            row[list(prompt)] = True
        return history

    def distribution(self, hidden: Tensor, history: Tensor | None = None) -> Tensor:
        """Map hidden vectors to next-token distributions.

        The vectors have the shape `[..., D]`, and the distributions have the shape
        `[..., V]`.
        """
        return self.of_logits(self.model.logits(hidden), history)

    def of_logits(self, logits: Tensor, history: Tensor | None = None) -> Tensor:
        """Map logits of shape `[..., V]` to distributions of the same shape."""
        if not torch.isfinite(logits).all():
            raise ValueError(
                "logits must be finite; got NaN or infinity (are the weights intact?)."
            )
        rules = self.rules
        if history is not None and rules.repetition_penalty != 1:
            logits = penalized(logits, history, rules.repetition_penalty)
        return probabilities(logits, rules.temperature, rules.top_p, rules.top_k)

    def draw(self, p: Tensor) -> Tensor:
        """Sample one token from each distribution.

        `p` has the shape `[B, V]`, and the result has the shape `[B, 1]`.
        """
        return p.multinomial(1, generator=self.generator)


def at(hidden: Tensor, positions: Tensor) -> Tensor:
    """Select the vector at one position in each row.

    `hidden` has the shape `[B, T, D]`, `positions` has the shape `[B]`, and the result
    has the shape `[B, D]`.
    """
    return hidden[torch.arange(len(positions), device=hidden.device), positions]
