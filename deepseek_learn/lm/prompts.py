"""Read the prompts of a generation and pad them to one length."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import torch
from torch import Tensor


def read_prompts(prompts: Any) -> list[list[int]]:
    """Return each prompt as a list of tokens; an iterator is read only once.

    Raises:
        TypeError: if `prompts` is text or a single prompt, or if a token is not an
            integer.
    """
    return [read_tokens("prompts", prompt) for prompt in _entries("prompts", prompts)]


def read_tokens(name: str, tokens: Any) -> list[int]:
    """Return the tokens in a list, a tensor of shape `[T]` or another iterable.

    Raises:
        TypeError: if they are not integers; the message names the argument.
    """
    entries = _entries(name, tokens)
    for token in entries:
        if not isinstance(token, Integral):
            raise TypeError(_message(name, token))
    return [int(token) for token in entries]


def _entries(name: str, values: Any) -> list:
    if hasattr(values, "tolist"):  # a tensor or an array
        values = values.tolist()
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise TypeError(_message(name, values))
    # the tokens in a list may be tensors without axes
    return [each.tolist() if isinstance(each, Tensor) else each for each in values]


def _message(name: str, value: Any) -> str:
    accepted = {
        "prompts": "a list of prompts, each a list of tokens (a single prompt is "
        "[tokens], and a text has to be encoded first)",
        "stop": "a list of tokens",
    }
    return f"{name} must be {accepted[name]}; got {value!r:.40} in it."


def padded(prompts: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Pad the prompts with zeros at the end.

    Returns the padded prompts, of shape `[B, T]`, and their lengths, of shape `[B]`.
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    ids = lengths.new_zeros(len(prompts), int(lengths.max()))
    for row, prompt in zip(ids, prompts, strict=True):
        row[: len(prompt)] = torch.as_tensor(prompt)
    return ids, lengths
