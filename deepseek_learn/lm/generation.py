"""Text generation for a batch of prompts, with optional speculative decoding."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from .cache import Cache
from .model import LanguageModel
from .prompts import padded, read_prompts, read_tokens
from .sampling import Sampler, SamplingRules, at
from .speculative import draft_ahead, verify


def generate(
    model: LanguageModel, prompts: Sequence[Sequence[int]], *args: Any, **options: Any
) -> list[list[int]]:
    """Generate a continuation of each prompt and return the new tokens.

    The arguments are the same as for `stream`.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(num_hidden_layers=2)).eval()
    >>> tokens = lm.generate(model, [[5, 7, 9]], max_new_tokens=4)
    >>> len(tokens[0])
    4
    """
    prompts = read_prompts(prompts)
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
    top_k: int | None = None,
    repetition_penalty: float = 1.0,
    stop: Sequence[int] = (),
    seed: int | None = None,
    speculative: bool = False,
    fast: bool = False,
) -> Iterator[list[list[int]]]:
    """Generate text step by step, yielding the new tokens of each prompt.

    Every step yields one token for each unfinished prompt, or up to two with
    speculative decoding. Prompts may differ in length. Shorter prompts are padded at
    the end, and their new tokens overwrite the padding.

    Args:
        prompts: a list of prompts, each a list or a tensor of tokens. A single prompt is
            passed as `[tokens]`.
        temperature, top_p, top_k: see `sampling.probabilities`. A temperature of 0
            means greedy decoding.
        repetition_penalty: see `sampling.penalized`. It applies to the tokens of the
            prompt and the new ones.
        stop: tokens that end a sequence. They are included in the output.
        seed: the seed for sampling. If None, every call samples differently.
        speculative: whether to use speculative decoding. The model's
            `MultiTokenPrediction` block drafts the token after the next one, and the
            model verifies the draft in the forward pass that reads the next token
            (Leviathan et al. 2023, "Fast inference from transformers via speculative
            decoding", arXiv 2211.17192). This does not change the distribution of the
            output.
        fast: whether to decode with `Decoding`, for one prompt on a CPU. It computes
            the same except for the order of additions, so that nearly equal
            probabilities may be ranked differently: its cache is in float32, the
            default of `Decoding`.

    Raises:
        TypeError: if `prompts` is a text or a single prompt, or if a token is not an
            integer.
        ValueError: if a prompt is empty, a sequence would exceed the maximum length, an
            option is out of range, the logits are not finite, or speculative decoding
            is requested for a model that has no `MultiTokenPrediction` block, or with a
            repetition penalty. Also if `fast` is requested for several prompts or with
            speculative decoding, or the model is not on the CPU.
        DeepSeekLearnError: if `fast` is requested for a model that cannot be decoded
            this way, or without a C++ compiler.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(num_hidden_layers=2)).eval()
    >>> steps = list(lm.stream(model, [[5, 7, 9]], max_new_tokens=4))
    >>> len(steps)
    4
    """
    prompts, stop = read_prompts(prompts), read_tokens("stop", stop)
    rules = SamplingRules(temperature, top_p, top_k, repetition_penalty, seed)
    _check(model, prompts, max_new_tokens, repetition_penalty, speculative)
    if fast:
        if speculative or len(prompts) > 1:
            raise ValueError(
                f"fast must be False with speculative decoding or several prompts; got "
                f"{len(prompts)} prompts and speculative={speculative}."
            )
        sampler = rules.sampler(model, "cpu")
        yield from _one_by_one(sampler, prompts[0], max_new_tokens, stop)
        return
    device = model.device
    sampler = rules.sampler(model, device)
    # 1. read the B prompts, padded to the longest (T), and sample the first token
    ids, lengths = padded(prompts, device)  # [B, T], [B]
    cache = Cache(model, len(prompts), ids.shape[1] + max_new_tokens, ahead=2)
    step, last = model.step(ids, cache, lengths), lengths - 1
    hidden = model.hidden(step)  # [B, T, D]
    history = sampler.history(prompts)  # [B, V]
    # use only the last real position: all logits would need T times as much memory
    token = sampler.draw(sampler.distribution(at(hidden, last), history))  # [B, 1]
    if speculative:
        # the token after each position; at the end of a prompt, it is the sampled one
        following = ids.roll(-1, 1).scatter(1, last[:, None], token)  # [B, T]
        draft, q = draft_ahead(sampler, hidden, following, last, step)  # [B, 1], [B, V]
    new_tokens, active = token.tolist(), list(range(len(prompts)))
    budgets = [max_new_tokens] * len(prompts)
    while True:
        # 2. yield the new tokens; finished prompts get none
        output: list[list[int]] = [[] for _ in prompts]
        for row, new in zip(active, new_tokens, strict=True):
            output[row], budgets[row] = _within(new, budgets[row], stop)
        yield output
        # 3. drop finished sequences; from here on, B is the number of active ones
        rows = [i for i, row in enumerate(active) if budgets[row]]
        if not rows:
            return
        if len(rows) < len(active):
            active = [active[i] for i in rows]
            cache.keep(torch.tensor(rows, device=device))
            token, history = token[rows], history[rows]
            if speculative:
                draft, q = draft[rows], q[rows]
        # 4. read the last token together with the draft, which saves time because the
        # weights are loaded only once
        inputs = torch.cat([token, draft], 1) if speculative else token
        step = model.step(inputs, cache)
        hidden = model.hidden(step)  # [B, 1 or 2, D]
        history.scatter_(1, token, True)
        p = sampler.distribution(hidden, history[:, None])  # [B, 1 or 2, V]
        if not speculative:
            token = sampler.draw(p[:, 0])
            new_tokens = token.tolist()
            continue
        # 5. accept the draft and sample the token after it, or resample the draft; both
        # outcomes are computed for all rows, since only some drafts may be accepted
        accept, token = verify(sampler, draft, q, p)  # [B, 1] each
        pairs = zip(torch.cat([draft, token], 1).tolist(), accept, strict=True)
        new_tokens = [pair if both else pair[1:] for pair, both in pairs]
        # 6. remove rejected drafts from the cache before it is read again, and draft
        # from the last valid position (1 if the draft was accepted, otherwise 0)
        cache.rewind((~accept[:, 0]).long())
        following = torch.cat([torch.where(accept, draft, token), token], 1)  # [B, 2]
        draft, q = draft_ahead(sampler, hidden, following, accept[:, 0].long(), step)


def _one_by_one(
    sampler: Sampler, prompt: Sequence[int], budget: int, stop: Sequence[int]
) -> Iterator[list[list[int]]]:
    """Continue one prompt with `Decoding`, yielding one token at a time."""
    from .decoding import Decoding

    decoding = Decoding(sampler.model, len(prompt) + budget)
    logits, history = decoding.read(torch.tensor(prompt)), sampler.history([prompt])
    while True:
        token = sampler.draw(sampler.of_logits(logits[None], history)).tolist()
        history[0, token[0]] = True
        output, budget = _within(token[0], budget, stop)
        yield [output]
        if not budget:
            return
        logits = decoding.step(output[0])


def _within(new: list[int], budget: int, stop: Sequence[int]) -> tuple[list[int], int]:
    """Truncate new tokens after a stop token or once the token budget is used up.

    Returns the truncated tokens and the remaining budget.
    """
    ends = [i + 1 for i, token in enumerate(new) if token in stop]
    output = new[: min([budget, *ends])]
    return output, 0 if ends else budget - len(output)


def _check(
    model: LanguageModel,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int,
    repetition_penalty: float,
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
        (len(prompts), "prompts must contain at least one prompt; got none"),
        (
            room > 0,
            f"prompts must be shorter than {longest + room} tokens; got {longest}",
        ),
        (
            1 <= max_new_tokens <= room,
            f"max_new_tokens must be from 1 to {room}; got {max_new_tokens}",
        ),
        (
            c.num_nextn_predict_layers or not speculative,
            "speculative must be False for a model without MultiTokenPrediction",
        ),
        (
            repetition_penalty == 1 or not speculative,
            f"repetition_penalty must be 1 with speculative decoding; got "
            f"{repetition_penalty}",
        ),
    ):
        if not fits:
            raise ValueError(f"{message}.")
