"""The words that decided: what would the reader say without them?

Each piece of a text is taken out in turn, and the reader reads the rest. The piece's
weight is how much the log-odds of the verdict fall. Neighboring pieces that speak for the
same side are one word.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..data.chinese import normalize
from ..zoo.nets.text_encoder import LIMIT, UNKNOWN
from .teacher import cut

if TYPE_CHECKING:
    from tokenizers import Tokenizer

FAINT = 0.15  # a weight below which a piece did not decide anything
LONGEST = 8  # characters of a Chinese word
IDEOGRAPH = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]")  # no spaces between such words


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
    read: Callable[[Tensor], Tensor],
    tokenizer: "Tokenizer",
    text: str,
    *,
    spaced: bool = False,
    limit: int = LIMIT,
    faint: float = FAINT,
) -> tuple[str, list[Word]]:
    """Return the normalized text, and its deciding words in their order.

    Args:
        read: tokens `[B, T]` → logits `[B, 2]`.
        spaced: whether words are separated by spaces. Then a word is taken out as a whole.
        limit: how many pieces are read. The words are among the first of them.
        faint: the weight below which a word did not decide anything; if all are below it,
            the heaviest one is returned.
    """
    normal = normalize(text)
    encoding = tokenizer.encode(normal)
    ids, every_offset = encoding.ids, encoding.offsets  # each look at them is a copy
    places = cut(range(len(ids)), LIMIT)
    if not places:
        return normal, []
    offsets = [every_offset[place] for place in places]
    groups = _words(normal, offsets) if spaced else [[i] for i in range(len(places))]
    rest = sorted({*range(len(ids))} - {*places})[: limit - len(places)]
    tokens = torch.tensor([ids[place] for place in [*places, *rest]])
    without = tokens.repeat(len(groups) + 1, 1)
    for row, group in enumerate(groups, 1):
        without[row, group] = UNKNOWN
    with torch.inference_mode():
        logits = torch.cat([read(part) for part in without.split(64)])
    odds = logits[:, 1] - logits[:, 0]
    words: list[Word] = []
    weights = (odds[0] - odds[1:]).tolist()
    faint = min(faint, max(map(abs, weights)))
    for group, weight in zip(groups, weights, strict=True):
        start, stop = offsets[group[0]][0], offsets[group[-1]][1]
        if abs(weight) < faint:
            continue
        last = words[-1] if words and not spaced else None
        if (
            last is not None
            and last.stop == start
            and (last.weight > 0) == (weight > 0)
            and stop - last.start <= LONGEST
        ):
            start, weight = last.start, last.weight + weight
            words.pop()
        words.append(Word(normal[start:stop], start, stop, weight))
    return normal, words


def _words(text: str, offsets: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Return the pieces of each word, by position."""
    groups: list[list[int]] = []
    for place, (start, _) in enumerate(offsets):
        spaced = not groups or text[start].isspace() or start != offsets[place - 1][1]
        if spaced or IDEOGRAPH.match(text, start):
            groups.append([])
        groups[-1].append(place)
    return groups
