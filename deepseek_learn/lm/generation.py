"""Writing on: token after token, a batch of prompts at once, with drafts where it pays."""

import math
from collections.abc import Iterator, Sequence

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
        temperature: 0 leaves the likeliest token alone; above 1 evens out.
        top_p: the likeliest tokens that together have this share, the rest never
            (Holtzman et al. 2019, arXiv 1904.09751).
    """
    if not temperature:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    # the largest first becomes 0: a temperature near 0 then overflows to -inf alone
    logits = logits.float() - logits.amax(-1, keepdim=True).float()
    p = (logits / temperature).softmax(-1)
    if top_p < 1:
        ordered, index = p.sort(-1, descending=True)
        beyond = ordered.cumsum(-1) - ordered >= top_p  # the first is always kept
        p = p.masked_fill(torch.zeros_like(beyond).scatter(-1, index, beyond), 0)
        p = p / p.sum(-1, keepdim=True)
    return p


def generate(model: LanguageModel, prompts: Sequence, *args, **options) -> list:
    """The new tokens of each prompt; arguments as of `stream`."""
    written: list[list[int]] = [[] for _ in prompts]
    for news in stream(model, prompts, *args, **options):
        for tokens, new in zip(written, news, strict=True):
            tokens += new
    return written


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
    """Yield the new tokens of each prompt as they come: one, with drafts up to two.

    Prompts may be of different lengths: the shorter ones are padded at the end, and what
    comes next is written over the padding.

    Args:
        temperature, top_p: see `probabilities`; temperature 0 is greedy.
        stop: tokens that end a row; they are given out too.
        seed: of the draws; without one each call draws anew.
        speculative: the model's `MultiTokenPrediction` drafts the token after the next,
            and the model reads both at once (Leviathan et al. 2023, arXiv 2211.17192):
            the distribution of what is written stays what it is without.

    Raises:
        ValueError: for an empty prompt, a sequence past the maximum, an option out of
            range, logits that are not finite, and drafts where the model has no block
            for them.
    """
    _check(model, prompts, max_new_tokens, temperature, top_p, seed, speculative)
    device = model.model.norm.weight.device  # a packed head unpacks its own
    generator = torch.Generator(device)
    generator.manual_seed(seed) if seed is not None else generator.seed()

    def distribution(hidden: Tensor) -> Tensor:
        logits = model.lm_head(hidden)
        if not torch.isfinite(logits).all():
            raise ValueError(
                "logits must be finite; got NaN or infinity: are the weights whole?"
            )
        return probabilities(logits, temperature, top_p)

    def draw(p: Tensor) -> Tensor:
        return p.multinomial(1, generator=generator)  # [B, 1]

    def propose(hidden: Tensor, following: Tensor, at: Tensor, step: Step) -> tuple:
        """The token after the next, and the distribution it is drawn from."""
        ahead = model.ahead(hidden, following, 0, step)
        q = distribution(ahead[torch.arange(len(at), device=device), at])
        return draw(q), q

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
        draft, q = propose(hidden, following, last, step)
    news, active = token.tolist(), list(range(len(prompts)))
    left = [max_new_tokens] * len(prompts)
    while True:
        given: list[list[int]] = [[] for _ in prompts]
        for row, new in zip(active, news, strict=True):
            ends = [i + 1 for i, each in enumerate(new) if each in stop]
            given[row] = new[: min([left[row], *ends])]
            left[row] = 0 if ends else left[row] - len(given[row])
        yield given
        going = [i for i, row in enumerate(active) if left[row]]
        if not going:
            return
        if len(going) < len(active):  # the batch goes on without those that ended
            active = [active[i] for i in going]
            cache.keep(torch.tensor(going, device=device))
            token = token[going]
            draft, q = (draft[going], q[going]) if speculative else (None, None)
        read = torch.cat([token, draft], 1) if speculative else token
        step = model.step(read, cache)
        hidden = model.hidden(step)
        p = distribution(hidden)  # [B, 1 or 2, V]
        if not speculative:
            token = draw(p[:, 0])
            news = token.tolist()
            continue
        held = accepted(draft, q, p[:, 0], generator)  # [B, 1]
        token = draw(torch.where(held, p[:, 1], (p[:, 0] - q).clamp_min(0) + 1e-30))
        pairs = torch.cat([draft, token], 1).tolist()
        news = [pair if h else pair[1:] for pair, h in zip(pairs, held, strict=True)]
        cache.rewind((~held[:, 0]).long())
        following = torch.cat([torch.where(held, draft, token), token], 1)
        draft, q = propose(hidden, following, held[:, 0].long(), step)


def accepted(draft: Tensor, q: Tensor, p: Tensor, generator) -> Tensor:
    """Whether drafts `[B, 1]` drawn from `q` `[B, V]` may stand for draws from `p`.

    With probability min(1, p/q); whoever is refused is drawn from the rest of p, and
    then both together are distributed as p.
    """
    ratio = p.gather(1, draft) / q.gather(1, draft).clamp_min(1e-30)
    return torch.rand(ratio.shape, device=p.device, generator=generator) < ratio


def _check(model, prompts, max_new_tokens, temperature, top_p, seed, speculative):
    c = model.config
    for i, prompt in enumerate(prompts):
        wrong = [token for token in prompt if not 0 <= token < c.vocab_size]
        if wrong or not len(prompt):
            raise ValueError(
                f"prompts must be of one or more tokens, each from 0 to "
                f"{c.vocab_size - 1}; prompt {i} has {wrong[:9] or 'none'}."
            )
    longest = max(map(len, prompts), default=0)
    room = c.max_position_embeddings - longest
    for fits, said in (
        (len(prompts), "prompts must be at least one; got none"),
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
            raise ValueError(f"{said}.")
