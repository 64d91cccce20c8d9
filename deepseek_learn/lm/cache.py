"""The cache of a language model, which stores vectors for the tokens read so far."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from .model import LanguageModel


class RingBuffer:
    """A ring buffer of vectors `[B, size, D]`; position p goes to slot p mod `size`.

    Vectors that must not be stored, such as padding, go to an extra slot at the end.
    """

    def __init__(self, like: Tensor, size: int):
        self.size = size
        self.values = like.new_zeros(like.shape[0], size + 1, like.shape[2])

    def put(self, positions: Tensor, values: Tensor, real: Tensor) -> None:
        """Write values `[B, T, D]` at positions `[B, T]` where `real` is true."""
        last = positions.masked_fill(~real, -1).amax(1, keepdim=True)
        valid = real & (positions > last - self.size)  # only the last lap
        slot = torch.where(valid, positions % self.size, self.size)
        rows = torch.arange(len(slot), device=slot.device)[:, None]
        self.values[rows, slot] = values

    def held(self, start: Tensor) -> Tensor:
        """Return the position that each slot holds before `start` `[B, 1]` is written.

        The result is `[B, size]`; negative numbers mark empty slots.
        """
        last = start - 1
        return last - (last - torch.arange(self.size, device=start.device)) % self.size


class Cache:
    """The cache of one model for `batch` sequences of at most `capacity` tokens each.

    Reading a token again at its position overwrites its entry, so `rewind` can undo a
    rejected draft of up to `ahead` tokens.

    Attributes:
        lengths: `[B]` int64, number of tokens read in each row.
        longest: `[B]` int64, the largest value that each length has had.
        end: the largest length after the last step, including padding.
    """

    def __init__(
        self, model: "LanguageModel", batch: int, capacity: int, ahead: int = 1
    ):
        limit = model.config.max_position_embeddings
        if not 1 <= capacity <= limit:
            raise ValueError(
                f"capacity must be from 1 to max_position_embeddings ({limit}); "
                f"got {capacity}."
            )
        if ahead < 0:
            raise ValueError(f"ahead must be at least 0; got {ahead}.")
        self.model, self.capacity, self.ahead = model, capacity, ahead
        device = model.model.norm.weight.device  # a packed head would unpack
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.longest = self.lengths
        self.end = 0
        self._buffers: dict[tuple[int, str], RingBuffer] = {}

    def buffer(self, layer: int, name: str, like: Tensor, size: int) -> RingBuffer:
        """Return the buffer of that name, allocated like `like` on first use."""
        if (layer, name) not in self._buffers:
            self._buffers[layer, name] = RingBuffer(like, size)
        return self._buffers[layer, name]

    def append(self, layer: int, name: str, values: Tensor, step: "Step") -> Tensor:
        """Append new tokens `[B, T, D]` and return all tokens so far `[B, S, D]`."""
        buffer = self.buffer(layer, name, values, self.capacity)
        buffer.put(step.positions, values, step.real)
        return buffer.values[:, : self.end]

    def advance(self, tokens: Tensor) -> None:
        """Add the number of new tokens `[B]` to the lengths."""
        self.lengths = self.lengths + tokens
        self.longest = torch.maximum(self.longest, self.lengths)

    def rewind(self, tokens: Tensor | int) -> None:
        """Remove the last tokens of each row.

        Args:
            tokens: number of tokens, the same for all rows or one per row `[B]`.

        Raises:
            ValueError: if `tokens` exceeds the number of tokens read, or if a row would
                end up more than `ahead` tokens shorter than its longest length; the
                window's contents at that point have already been overwritten.
        """
        count = torch.as_tensor(tokens, device=self.lengths.device)
        limit = self.lengths - (self.longest - self.ahead).clamp_min(0)  # [B]
        is_integer = not (count.is_floating_point() or count.dtype == torch.bool)
        fits = count.shape in ((), limit.shape)
        if not (is_integer and fits and ((count >= 0) & (count <= limit)).all()):
            raise ValueError(
                f"tokens must be a whole number, or one per row, from 0 to "
                f"{limit.tolist()} (ahead={self.ahead}); got {tokens}."
            )
        self.lengths = self.lengths - count

    def keep(self, rows: Tensor) -> None:
        """Keep only these rows of the batch."""
        self.lengths, self.longest = self.lengths[rows], self.longest[rows]
        for buffer in self._buffers.values():
            buffer.values = buffer.values[rows]

    def bytes(self) -> int:
        """Return the size of all buffers in bytes."""
        return sum(buffer.values.nbytes for buffer in self._buffers.values())


@dataclass(frozen=True)
class Step:
    """What a layer needs to know about its input tokens, besides their vectors.

    Attributes:
        ids, positions: `[B, T]` int64.
        real: `[B, T]`, False for padding at the end.
        rotary: maps the kind of rotary embedding to cosines and sines `[B, T, d/2]`.
    """

    ids: Tensor
    positions: Tensor
    real: Tensor
    rotary: dict[str, tuple[Tensor, Tensor]]
    cache: Cache | None = None

    def causal(self, keys: int) -> Tensor:
        """Return the mask `[B, T, S]` of the keys that each token may attend to."""
        return torch.arange(keys, device=self.ids.device) <= self.positions[..., None]
