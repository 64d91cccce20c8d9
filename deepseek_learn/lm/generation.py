"""Text generation token by token for a batch of prompts, with optional drafts."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .cache import Cache, Step
from .model import LanguageModel


def probabilities(
    logits: Tensor, temperature: float = 1.0, top_p: float = 1.0
) -> Tensor:
    """Logits `[..., V]` → the distribution that the next token is drawn from.

    Args:
        temperature: 0 keeps only the most likely token; above 1 flattens.
        top_p: keeps only the most likely tokens that together reach this probability
            (Holtzman et al. 2019, arXiv 1904.09751).
    """
    if not temperature:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    # subtract the maximum first: a temperature near 0 then overflows only to -inf
    logits = logits.float() - logits.amax(-1, keepdim=True).float()
    p = (logits / temperature).softmax(-1)
    if top_p < 1:
        ordered, index = p.sort(-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= top_p  # the first is always kept
        p = p.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), 0)
        p = p / p.sum(-1, keepdim=True)
    return p


def generate(
    model: LanguageModel, prompts: Sequence, *args: Any, **options: Any
) -> list:
    """Generate the new tokens of each prompt; takes the arguments of `stream`."""
    outputs: list[list[int]] = [[] for _ in prompts]
    for step in stream(model, prompts, *args, **options):
        for tokens, new in zip(outputs, step, strict=True):
            tokens += new
    return outputs


@torch.inference_mode()
def stream(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 64,
    *,
    temperature: float = 0.0,
    top_p: float = 1.0,
    stop: Sequence[int] = (),
    seed: int | None = None,
    speculative: bool = False,
) -> Iterator[list[list[int]]]:
    """Yield the new tokens of each prompt at each step: one, or up to two with drafts.

    Prompts may differ in length: shorter ones are padded at the end, and new tokens
    overwrite the padding.

    Args:
        temperature, top_p: see `probabilities`; temperature 0 is greedy.
        stop: tokens that end a sequence; they are part of the output.
        seed: for sampling; without one, each call samples differently.
        speculative: the model's `MultiTokenPrediction` drafts the token after the next,
            and the model verifies both at once (Leviathan et al. 2023, arXiv
            2211.17192): the output distribution is the same as without drafts.

    Raises:
        ValueError: for an empty prompt, a sequence past the maximum, an option out of
            range, non-finite logits, or drafts from a model that has no block for them.
    """
    _check(model, prompts, max_new_tokens, temperature, top_p, seed, speculative)
    device = model.model.norm.weight.device  # a packed head would unpack
    generator = torch.Generator(device)
    generator.manual_seed(seed) if seed is not None else generator.seed()

    def distribution(hidden: Tensor) -> Tensor:
        logits = model.lm_head(hidden)
        if not torch.isfinite(logits).all():
            raise ValueError(
                "logits must be finite; got NaN or infinity: are the weights intact?"
            )
        return probabilities(logits, temperature, top_p)

    def draw(p: Tensor) -> Tensor:
        return p.multinomial(1, generator=generator)  # [B, 1]

    def propose(hidden: Tensor, following: Tensor, last: Tensor, step: Step) -> tuple:
        """Draft the token after the next; returns it and its distribution."""
        ahead = model.ahead(hidden, following, 0, step)
        q = distribution(ahead[torch.arange(len(last), device=device), last])
        return draw(q), q

    # 1. read the prompts, padded at the end, and sample the first token
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    ids = lengths.new_zeros(len(prompts), int(lengths.max()))
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.as_tensor(prompt)
    cache = Cache(model, len(prompts), ids.shape[1] + max_new_tokens, ahead=2)
    step, last = model.step(ids, cache, lengths), lengths - 1
    hidden = model.hidden(step)
    token = draw(distribution(hidden[torch.arange(len(prompts), device=device), last]))
    if speculative:
        following = ids.roll(-1, 1).scatter(1, last[:, None], token)
        draft, q = propose(hidden, following, last, step)  # [B, 1], [B, V]
    new_tokens, active = token.tolist(), list(range(len(prompts)))
    budgets = [max_new_tokens] * len(prompts)
    while True:
        # 2. yield the new tokens, up to a stop token or the end of the budget
        output: list[list[int]] = [[] for _ in prompts]
        for row, new in zip(active, new_tokens, strict=True):
            ends = [i + 1 for i, each in enumerate(new) if each in stop]
            output[row] = new[: min([budgets[row], *ends])]
            budgets[row] = 0 if ends else budgets[row] - len(output[row])
        yield output
        # 3. drop the finished sequences from the batch
        rows = [i for i, row in enumerate(active) if budgets[row]]
        if not rows:
            return
        if len(rows) < len(active):
            active = [active[i] for i in rows]
            cache.keep(torch.tensor(rows, device=device))
            token = token[rows]
            draft, q = (draft[rows], q[rows]) if speculative else (None, None)
        # 4. read the last token, and the draft with it
        inputs = torch.cat([token, draft], 1) if speculative else token
        step = model.step(inputs, cache)
        hidden = model.hidden(step)
        p = distribution(hidden)  # [B, 1 or 2, V]
        if not speculative:
            token = draw(p[:, 0])
            new_tokens = token.tolist()
            continue
        # 5. accept the draft, or resample from the residual distribution max(p - q, 0)
        accept = accepted(draft, q, p[:, 0], generator)  # [B, 1]
        token = draw(torch.where(accept, p[:, 1], (p[:, 0] - q).clamp_min(0) + 1e-30))
        pairs = zip(torch.cat([draft, token], 1).tolist(), accept, strict=True)
        new_tokens = [pair if both else pair[1:] for pair, both in pairs]
        # 6. remove rejected drafts from the cache and draft again
        cache.rewind((~accept[:, 0]).long())
        following = torch.cat([torch.where(accept, draft, token), token], 1)
        draft, q = propose(hidden, following, accept[:, 0].long(), step)


def accepted(draft: Tensor, q: Tensor, p: Tensor, generator: torch.Generator) -> Tensor:
    """Whether to accept drafts `[B, 1]` sampled from `q` `[B, V]` as samples of `p`.

    Accepts with probability min(1, p/q). If a rejected draft is resampled from the
    residual distribution max(p - q, 0), the result is distributed as p.
    """
    ratio = p.gather(1, draft) / q.gather(1, draft).clamp_min(1e-30)
    return torch.rand(ratio.shape, device=p.device, generator=generator) < ratio


def _check(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int | None,
    speculative: bool,
) -> None:
    c = model.config
    for i, prompt in enumerate(prompts):
        invalid = [token for token in prompt if not 0 <= token < c.vocab_size]
        if invalid or not len(prompt):
            raise ValueError(
                f"prompts must have one or more tokens, each from 0 to "
                f"{c.vocab_size - 1}; prompt {i} has {invalid[:9] or 'none'}."
            )
    longest = max(map(len, prompts), default=0)
    room = c.max_position_embeddings - longest
    for fits, message in (
        (len(prompts), "prompts must hold at least one prompt; got none"),
        (
            0 <= temperature < math.inf,
            f"temperature must be 0 or more, and finite; got {temperature}",
        ),
        (0 < top_p <= 1, f"top_p must be above 0 and at most 1; got {top_p}"),
        (
            seed is None or -(2**63) <= seed < 2**64,
            f"seed must be from -2**63 to 2**64 - 1, or None; got {seed}",
        ),
        (room > 0, f"prompts must be below {longest + room} tokens; got {longest}"),
        (
            1 <= max_new_tokens <= room,
            f"max_new_tokens must be from 1 to {room}; got {max_new_tokens}",
        ),
        (
            c.num_nextn_predict_layers or not speculative,
            "speculative must be False for a model without MultiTokenPrediction",
        ),
    ):
        if not fits:
            raise ValueError(f"{message}.")
