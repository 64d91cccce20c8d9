"""What a language model keeps of the tokens it has read, and where."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


class RingBuffer:
    """Vectors of a sequence, that of position p in slot p mod `size`: `[B, size, D]`.

    What shall not be kept, such as padding, goes to one slot more, at the end.
    """

    def __init__(self, like: Tensor, size: int):
        self.size = size
        self.values = like.new_zeros(like.shape[0], size + 1, like.shape[2])

    def put(self, positions: Tensor, values: Tensor, real: Tensor) -> None:
        """Values `[B, T, D]` at positions `[B, T]`, where `real` `[B, T]` holds."""
        last = positions.masked_fill(~real, -1).amax(1, keepdim=True)
        kept = real & (positions > last - self.size)  # of a lap, the last
        slot = torch.where(kept, positions % self.size, self.size)
        rows = torch.arange(len(slot), device=slot.device)[:, None]
        self.values[rows, slot] = values

    def held(self, start: Tensor) -> Tensor:
        """Position in each slot before `start` `[B, 1]`: `[B, size]`, below 0: none."""
        last = start - 1
        return last - (last - torch.arange(self.size, device=start.device)) % self.size


class Cache:
    """Room for the tokens of `batch` sequences of one model, of at most `capacity`.

    A token that is read again at its position replaces what was kept of it: `rewind`
    takes back a rejected draft, of up to `ahead` tokens.

    Attributes:
        lengths: `[B]` int64, tokens read.
        longest: `[B]` int64, the largest that each length has been.
        end: the largest of them after the last step, padding counted.
    """

    def __init__(self, model: nn.Module, batch: int, capacity: int, ahead: int = 1):
        most = model.config.max_position_embeddings
        if not 1 <= capacity <= most:
            raise ValueError(
                f"capacity must be from 1 to max_position_embeddings ({most}); "
                f"got {capacity}."
            )
        if ahead < 0:
            raise ValueError(f"ahead must be at least 0; got {ahead}.")
        self.model, self.capacity, self.ahead = model, capacity, ahead
        device = model.model.norm.weight.device  # a packed head unpacks its own
        self.lengths = torch.zeros(batch, dtype=torch.int64, device=device)
        self.longest = self.lengths
        self.end = 0
        self._buffers: dict[tuple[int, str], RingBuffer] = {}

    def buffer(self, layer: int, name: str, like: Tensor, size: int) -> RingBuffer:
        """The place of that name, made for vectors like `like` when first asked for."""
        if (layer, name) not in self._buffers:
            self._buffers[layer, name] = RingBuffer(like, size)
        return self._buffers[layer, name]

    def append(self, layer: int, name: str, values: Tensor, step: "Step") -> Tensor:
        """Keep all tokens: new `[B, T, D]` → those read up to now `[B, S, D]`."""
        buffer = self.buffer(layer, name, values, self.capacity)
        buffer.put(step.positions, values, step.real)
        return buffer.values[:, : self.end]

    def advance(self, tokens: Tensor) -> None:
        """Count so many new tokens `[B]`."""
        self.lengths = self.lengths + tokens
        self.longest = torch.maximum(self.longest, self.lengths)

    def rewind(self, tokens: Tensor | int) -> None:
        """Forget the last tokens of each row.

        Args:
            tokens: how many, of all rows or of each `[B]`.

        Raises:
            ValueError: for more than were read, or a length more than `ahead` below the
                longest: what a window held then has been written over.
        """
        count = torch.as_tensor(tokens, device=self.lengths.device)
        most = self.lengths - (self.longest - self.ahead).clamp_min(0)  # [B]
        whole = not (count.is_floating_point() or count.dtype == torch.bool)
        fits = count.shape in ((), most.shape)
        if not (whole and fits and ((count >= 0) & (count <= most)).all()):
            raise ValueError(
                f"tokens must be a whole number, or one per row, from 0 to "
                f"{most.tolist()} (ahead={self.ahead}); got {tokens}."
            )
        self.lengths = self.lengths - count

    def keep(self, rows: Tensor) -> None:
        """Go on with these rows of the batch only."""
        self.lengths, self.longest = self.lengths[rows], self.longest[rows]
        for buffer in self._buffers.values():
            buffer.values = buffer.values[rows]

    def bytes(self) -> int:
        """Memory taken by what is kept."""
        return sum(buffer.values.nbytes for buffer in self._buffers.values())


@dataclass(frozen=True)
class Step:
    """What a layer must know of the tokens it is given, besides their vectors.

    Attributes:
        ids, positions: `[B, T]` int64.
        real: `[B, T]`, False for padding at the end.
        rotary: kind of rotary embedding → cosines and sines `[B, T, d/2]`.
    """

    ids: Tensor
    positions: Tensor
    real: Tensor
    rotary: dict[str, tuple[Tensor, Tensor]]
    cache: Cache | None = None

    def causal(self, keys: int) -> Tensor:
        """Which of the keys 0 .. S-1 a token may see: `[B, T, S]`."""
        return torch.arange(keys, device=self.ids.device) <= self.positions[..., None]
