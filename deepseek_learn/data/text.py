"""Text for byte-level language models, with fixed splits and random windows."""

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd
import torch
from torch import Tensor

from .card import DataCard


@dataclass(frozen=True)
class TextSplits:
    """A text that is split into training, validation and test sets.

    Each part is a uint8 tensor of shape `[N]` that contains UTF-8 bytes, with one poem
    or passage per line.

    >>> import torch
    >>> from deepseek_learn import data
    >>> poems = data.tang_poems()
    >>> poems.train.dtype, len(poems.train) > len(poems.test)
    (torch.uint8, True)
    """

    train: Tensor
    validation: Tensor
    test: Tensor
    card: DataCard

    def __repr__(self) -> str:
        sizes = "/".join(str(count) for count in self.to_frame()["bytes"])
        return f"TextSplits({self.card.name}: train/validation/test = {sizes} bytes)"

    def to_frame(self) -> pd.DataFrame:
        """Count the bytes, characters (including newlines) and poems in each part."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        counts = {
            name: {
                "bytes": len(part),
                # every byte except 10xxxxxx starts a character
                "characters": int(((part & 0xC0) != 0x80).sum()),
                "poems": int((part == ord("\n")).sum()),
            }
            for name, part in parts.items()
        }
        return pd.DataFrame(counts).T.rename_axis("part")


ROUND = 20  # units, of which 18 are for training, one for validation, one for testing


def text_splits(lines: list[bytes], units: Iterable[int], card: DataCard) -> TextSplits:
    """Split the lines of a text into three parts, based on their unit numbers."""
    parts: dict[str, list[bytes]] = {"train": [], "validation": [], "test": []}
    for unit, line in zip(units, lines, strict=True):
        part = {ROUND - 2: "validation", ROUND - 1: "test"}.get(unit % ROUND, "train")
        parts[part].append(line)
    tensors = {
        part: torch.frombuffer(bytearray(b"".join(lines)), dtype=torch.uint8)
        for part, lines in parts.items()
    }
    return TextSplits(**tensors, card=card)


def windows(
    part: Tensor, length: int, batch: int, generator: torch.Generator | None = None
) -> Tensor:
    """Sample random windows of a text, each with the byte that follows it.

    A window can start at any byte, even in the middle of a character or a poem. With
    `w = windows(...)`, the inputs are `w[:, :-1]` and the targets are `w[:, 1:]`.

    Args:
        part: a uint8 tensor of shape `[N]`, such as a part of `TextSplits`.
        length: the number of input bytes, at most N - 1.
        batch: the number of windows B.
        generator: the generator used to draw the positions; PyTorch's global one by
            default.

    Returns:
        An int64 tensor of shape `[B, length + 1]`.

    >>> from deepseek_learn import data
    >>> data.windows(data.english_verses().train, length=32, batch=4).shape
    torch.Size([4, 33])
    """
    if part.dtype != torch.uint8 or part.dim() != 1:
        raise ValueError(
            f"part must be uint8 with shape [N]; got {part.dtype} {list(part.shape)}."
        )
    if not 1 <= length < len(part):
        raise ValueError(
            f"length must be from 1 to {len(part) - 1} for a text of {len(part)} "
            f"bytes; got {length}."
        )
    if batch < 1:
        raise ValueError(f"batch must be at least 1; got {batch}.")
    starts = torch.randint(len(part) - length, (batch, 1), generator=generator)
    return part[starts + torch.arange(length + 1)].long()
