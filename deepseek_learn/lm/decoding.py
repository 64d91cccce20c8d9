"""Fast decoding of one sequence on a CPU, one token at a time."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from . import bindings, decoder  # noqa: F401  # the former registers what `bind` calls
from .attending import own_kernel
from .cache import Cache
from .cpp.program import Embedding, Linear, Program
from .model import LanguageModel
from .room import Room, bind


class Decoding:
    """A sequence that a model reads and continues, one token at a time.

    The weights are those of `model`, packed or float. What is compressed or changed in
    precision afterwards does not count: create a new `Decoding` then.

    Args:
        model: a `LanguageModel` or `Decoder` on the CPU.
        capacity: the largest number of tokens, prompt included.
        dtype: the dtype of the cache. In float32, the default here and in `stream`, the
            logits are those of the model except for the order of additions. In
            bfloat16, keys and values have 8 significant bits and take half the memory.

    Attributes:
        length: the number of tokens read so far.

    Raises:
        ValueError: if `capacity` or `dtype` is invalid, or the model is not on the CPU.
        TypeError: if the model is of another kind.
        DeepSeekLearnError: if the model contains a module that cannot be decoded this
            way.
        KernelUnavailable: if there is no C++ compiler.

    >>> import torch
    >>> from deepseek_learn import lm
    >>> model = lm.Decoder(vocab=256, dim=64, layers=2).eval()
    >>> decoding = lm.Decoding(model, capacity=32)
    >>> logits = decoding.read(torch.tensor([5, 7, 9]))
    >>> decoding.step(int(logits.argmax())).shape
    torch.Size([256])
    """

    def __init__(
        self,
        model: LanguageModel | decoder.Decoder,
        capacity: int,
        dtype: torch.dtype = torch.float32,
    ):
        self._family = _family(model)
        device = self._family.norm.weight.device.type
        if device != "cpu":
            raise ValueError(f"model must be on the CPU; got a model on {device}.")
        if not 1 <= capacity <= self._family.limit:
            raise ValueError(
                f"capacity must be from 1 to {self._family.limit}; got {capacity}."
            )
        if dtype not in (torch.float32, torch.bfloat16):
            raise ValueError(f"dtype must be torch.float32 or bfloat16; got {dtype}.")
        self.model, self.capacity, self.length = model, capacity, 0
        self._room = Room(self._family.size, capacity, dtype)
        self._program = Program()
        # The program holds the addresses of these tensors: `step` writes into them.
        self._token = torch.zeros(1, dtype=torch.int64)
        self._position = torch.zeros(1, dtype=torch.int64)
        for i, (layer, index) in enumerate(
            zip(self._family.embeddings, (self._token, self._position), strict=False)
        ):
            self._program.lookup(layer, index, self._room.x, add=i > 0)
        if self._family.scale != 1:
            self._program.scale(self._room.x, self._family.scale)
        for block in self._family.blocks:
            bind(block, self._program, self._room)
        self._program.norm(self._room.x, self._family.norm, self._room.normed)
        self._logits = torch.zeros(self._family.head.out_features)
        self._program.linear([self._family.head], self._room.normed, self._logits)
        if (cap := self._family.cap) is not None:
            self._program.scale(self._logits, 1 / cap)
            factor = torch.tensor([cap])
            self._program.gate(self._logits, None, "tanh", self._logits, factor)

    @torch.inference_mode()
    def read(self, ids: Tensor) -> Tensor:
        """Read a prompt with the model itself, and return the last token's logits.

        Only its attention is replaced by a C++ kernel (see `lm/attending.py`).

        Args:
            ids: the tokens of a new sequence, an int64 tensor of shape `[T]`.

        Returns:
            A tensor of shape `[vocab_size]`.

        Raises:
            ValueError: if `ids` is malformed or longer than the capacity.
        """
        if ids.dim() != 1 or ids.dtype != torch.int64 or not len(ids):
            raise ValueError(
                f"ids must be int64 with shape [T] and T at least 1; got {ids.dtype} "
                f"{list(ids.shape)}."
            )
        self._require_room(len(ids), 0)
        # The model reads the whole prompt in large products; then each layer's operations
        # copy from its cache what they need, such as keys that are already rotated.
        with own_kernel():
            logits, cache = self._family.read(ids)
        for take in self._room.takes:
            take(cache, len(ids))
        self.length = len(ids)
        return logits

    @torch.inference_mode()
    def step(self, token: int) -> Tensor:
        """Read one token and return the logits for the next one.

        Returns:
            A tensor of shape `[vocab_size]`, in the same memory at each call.

        Raises:
            ValueError: if the sequence has reached its capacity.
            IndexError: if there is no such token.
        """
        self._require_room(1, self.length)
        if not 0 <= token < self._family.embeddings[0].num_embeddings:
            raise IndexError(
                f"token must be from 0 to "
                f"{self._family.embeddings[0].num_embeddings - 1}; got {token}."
            )
        self._token[0], self._position[0] = token, self.length
        self._program.run(self.length)
        self.length += 1
        return self._logits

    def bytes(self) -> int:
        """Return the size of the caches in bytes."""
        return sum(cache.nbytes for cache in self._room.caches)

    def _require_room(self, new: int, past: int) -> None:
        if past + new > self.capacity:
            raise ValueError(
                f"the sequence must not exceed the capacity of {self.capacity} tokens; "
                f"got {new} new tokens after {past}."
            )


@dataclass(frozen=True)
class _Family:
    """What `Decoding` needs to know about a model.

    Attributes:
        embeddings: of the token, and of its position if there is one; they are added.
        scale: the factor of the token's embedding.
        cap: c in `c * tanh(logits / c)`, or None.
        read: returns the last token's logits and the cache of the model itself.
    """

    size: int
    limit: int
    embeddings: Sequence[Embedding]
    blocks: Iterable[nn.Module]
    norm: nn.RMSNorm | nn.LayerNorm
    head: Linear
    read: Callable[[Tensor], tuple[Tensor, Any]]
    scale: float = 1.0
    cap: float | None = None


def _family(model: nn.Module) -> _Family:
    if isinstance(model, LanguageModel):
        return _latent(model)
    if isinstance(model, decoder.Decoder):
        return _plain(model)
    raise TypeError(
        f"model must be a LanguageModel or a Decoder; got {type(model).__name__}."
    )


def _latent(model: LanguageModel) -> _Family:
    c, body, head = model.config, model.model, model.lm_head
    sizes = c.hidden_size, c.max_position_embeddings

    def read(ids: Tensor) -> tuple[Tensor, Cache]:
        cache = Cache(model, 1, len(ids))
        hidden = model.hidden(model.step(ids[None], cache))
        return model.logits(hidden[:, -1])[0], cache

    blocks = body.layers[: c.num_hidden_layers]
    first, scale, cap = body.embed_tokens, c.embedding_scale, c.final_logit_softcapping
    return _Family(*sizes, [first], blocks, body.norm, head, read, scale, cap)


def _plain(model: decoder.Decoder) -> _Family:
    sizes = model.token.embedding_dim, model.context

    def read(ids: Tensor) -> tuple[Tensor, decoder.KeyValueCache]:
        cache = decoder.KeyValueCache()
        return model(ids[None], cache)[0, -1], cache

    embeddings = model.token, model.position
    return _Family(*sizes, embeddings, model.blocks, model.norm, model.head, read)
