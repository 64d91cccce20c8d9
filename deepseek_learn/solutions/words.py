"""The words that decided: what would the reader say without them?

Each piece of a text is taken out in turn, and the reader reads the rest. The piece's
weight is how much the log-odds of the verdict fall. Neighboring pieces that speak for the
same side are one word.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..data.chinese import normalize
from ..zoo.nets.text_encoder import LIMIT, UNKNOWN
from .teacher import cut

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FAINT = 0.15  # the weight below which a piece did not decide anything
LONGEST = 8  # characters of a Chinese word


@dataclass(frozen=True)
class Word:
    """A word in a normalized text.

    Attributes:
        start, stop: the place of its characters.
        weight: how much the log-odds of class 1 rise because of it.
    """

    text: str
    start: int
    stop: int
    weight: float


def deciding_words(
    reader: nn.Module,
    tokenizer: "Tokenizer",
    text: str,
    longest: int = LONGEST,
    limit: int = LIMIT,
) -> tuple[str, list[Word]]:
    """Return the normalized text, and its deciding words in their order.

    Args:
        longest: the characters that joined pieces have at most.
        limit: how many pieces the reader reads. The words are among the first of them.
    """
    normal = normalize(text)
    encoding = tokenizer.encode(normal)
    places = cut(range(len(encoding.ids)), LIMIT)
    if not places:
        return normal, []
    rest = sorted({*range(len(encoding.ids))} - {*places})[: limit - len(places)]
    tokens = torch.tensor([encoding.ids[place] for place in [*places, *rest]])
    without = tokens.repeat(len(places) + 1, 1)
    without[1:, : len(places)].fill_diagonal_(UNKNOWN)
    with torch.inference_mode():
        logits = torch.cat([reader(part) for part in without.split(64)])
    odds = logits[:, 1] - logits[:, 0]
    weights = (odds[0] - odds[1:]).tolist()
    words: list[Word] = []
    for place, weight in zip(places, weights, strict=True):
        start, stop = encoding.offsets[place]
        if abs(weight) < FAINT:
            continue
        last = words[-1] if words else None
        if (
            last is not None
            and last.stop == start
            and (last.weight > 0) == (weight > 0)
            and stop - last.start <= longest
        ):
            start, weight = last.start, last.weight + weight
            words.pop()
        words.append(Word(normal[start:stop], start, stop, weight))
    return normal, words
