"""The decoding cache of a language model.

It stores the vectors that the layers compute for the tokens read so far.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .config import Config


class CachedModel(Protocol):
    """What a cache needs to know about its model."""

    config: Config

    @property
    def device(self) -> torch.device: ...


class RingBuffer:
    """A ring buffer of vectors in which position p is stored in slot p mod `size`.

    The buffer has the shape `[B, size + 1, D]`. Vectors that should not be stored, such
    as padding, are written to the extra slot at the end.
    """

    def __init__(self, like: Tensor, size: int):
        self.size = size
        self.values = like.new_zeros(like.shape[0], size + 1, like.shape[2])

    def put(self, positions: Tensor, values: Tensor, real: Tensor) -> None:
        """Store vectors at their positions, except where `real` is False.

        Args:
            positions: an int64 tensor of shape `[B, T]`.
            values: a tensor of shape `[B, T, D]`.
            real: a boolean tensor of shape `[B, T]`.
        """
        last = positions.masked_fill(~real, -1).amax(1, keepdim=True)
        valid = real & (positions > last - self.size)  # skip overwritten positions
        slot = torch.where(valid, positions % self.size, self.size)  # [B, T]
        rows = torch.arange(len(slot), device=slot.device)[:, None]
        self.values[rows, slot] = values

    def held(self, start: Tensor) -> Tensor:
        """Return the position stored in each slot before position `start` is written.

        `start` has the shape `[B, 1]` and the result has the shape `[B, size]`. Empty
        slots are marked with negative numbers.
        """
        # the newest position before `start` that falls into each slot
        last = start - 1
        return last - (last - torch.arange(self.size, device=start.device)) % self.size


class Cache:
    """A model's cache for a batch of sequences of up to `capacity` tokens each.

    Reading a token again at the same position overwrites its entry. `rewind` relies on
    this to undo a rejected draft of up to `ahead` tokens.

    Attributes:
        lengths: the number of tokens read in each row, an int64 tensor of shape `[B]`.
        longest: the largest value that each length has ever reached, an int64 tensor of
            shape `[B]`.
        end: the largest length after the last step, including padding.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.LanguageModel(lm.Config(num_hidden_layers=2)).eval()
    >>> cache = lm.Cache(model, batch=1, capacity=16)
    >>> with torch.inference_mode():
    ...     logits = model(torch.tensor([[5, 7, 9]]), cache=cache)
    """

    def __init__(self, model: CachedModel, batch: int, capacity: int, ahead: int = 1):
        limit = model.config.max_position_embeddings
        if not 1 <= capacity <= limit:
            raise ValueError(
                f"capacity must be from 1 to max_position_embeddings ({limit}); "
                f"got {capacity}."
            )
        if ahead < 0:
            raise ValueError(f"ahead must be at least 0; got {ahead}.")
        self.model, self.capacity, self.ahead = model, capacity, ahead
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=model.device)
        self.longest = self.lengths
        self.end = 0
        self._buffers: dict[tuple[int, str], RingBuffer] = {}

    def buffer(self, layer: int, name: str, like: Tensor, size: int) -> RingBuffer:
        """Return the buffer with this name, allocating it on first use.

        A new buffer has the batch size, width, dtype and device of `like`.
        """
        if (layer, name) not in self._buffers:
            self._buffers[layer, name] = RingBuffer(like, size)
        return self._buffers[layer, name]

    def append(self, layer: int, name: str, values: Tensor, step: "Step") -> Tensor:
        """Append the vectors of new tokens and return the vectors of all tokens so far.

        `values` has the shape `[B, T, D]` and the result has the shape `[B, S, D]`.
        """
        buffer = self.buffer(layer, name, values, self.capacity)
        buffer.put(step.positions, values, step.real)
        return buffer.values[:, : self.end]

    def vectors(self, layer: int, name: str) -> Tensor:
        """Return the vectors of all tokens so far, of shape `[B, S, D]`."""
        return self._buffers[layer, name].values[:, : self.end]

    def held(self, layer: int, name: str) -> tuple[Tensor, Tensor]:
        """Return what a ring buffer holds of the first sequence, by position.

        The positions have the shape `[n]` and ascend; the vectors have the shape
        `[n, D]`.
        """
        buffer = self._buffers[layer, name]
        positions = buffer.held(self.lengths[:1, None])[0]
        positions = positions[positions >= 0].sort().values
        return positions, buffer.values[0, positions % buffer.size]

    def advance(self, tokens: Tensor) -> None:
        """Add the number of new tokens in each row, of shape `[B]`, to the lengths."""
        self.lengths = self.lengths + tokens
        self.longest = torch.maximum(self.longest, self.lengths)

    def rewind(self, tokens: Tensor | int) -> None:
        """Remove the last tokens from each row.

        Args:
            tokens: the number of tokens to remove, either one integer for all rows or
                an integer tensor of shape `[B]`.

        Raises:
            ValueError: if `tokens` is not an integer, is negative, or exceeds the
                number of tokens read. It is also raised if a row would become more than
                `ahead` tokens shorter than it has ever been, because entries in its
                window may already have been overwritten.
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
        """Keep only the given rows of the batch."""
        self.lengths, self.longest = self.lengths[rows], self.longest[rows]
        for buffer in self._buffers.values():
            buffer.values = buffer.values[rows]

    def bytes(self) -> int:
        """Return the total size of all buffers in bytes."""
        return sum(buffer.values.nbytes for buffer in self._buffers.values())


@dataclass(frozen=True)
class Step:
    """The inputs to a layer other than the token vectors.

    Attributes:
        ids, positions: int64 tensors of shape `[B, T]`.
        real: a boolean tensor of shape `[B, T]` that is False for padding at the end.
        rotary: a dictionary that maps each kind of rotary embedding to its cosines and
            sines, each of shape `[B, T, d/2]`.
        cache: the cache for the preceding tokens, or None.
    """

    ids: Tensor
    positions: Tensor
    real: Tensor
    rotary: dict[str, tuple[Tensor, Tensor]]
    cache: Cache | None = None

    def causal(self, keys: int) -> Tensor:
        """Return a mask that is True where a token may attend to a key.

        The mask has the shape `[B, T, S]`, where S is the number of keys.
        """
        return torch.arange(keys, device=self.ids.device) <= self.positions[..., None]
