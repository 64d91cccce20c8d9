"""The memory of a sequence that is being decoded, and who writes a module's operations."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ..dpg.arena import Pool
from ..errors import DeepSeekLearnError
from .cpp.program import Program
from .rotary import angles

# takes over what the model's own cache holds after the prompt of this length
Take = Callable[[Any, int], None]
_binders: dict[type[nn.Module], Callable[..., Any]] = {}


def binds(kind: type[nn.Module]) -> Callable[[Callable], Callable]:
    """Register a function that writes the operations of a class of modules.

    The function is called with the module, a `Program` and a `Room`. The operations read
    `room.normed` and add their result to `room.x`.
    """

    def decorator(function: Callable) -> Callable:
        _binders[kind] = function
        return function

    return decorator


class Room:
    """The memory of a sequence that is being decoded.

    Attributes:
        x: the residual stream, `[hidden_size]`.
        normed: the input to the current layer, `[hidden_size]`.
        capacity: the largest number of tokens.
        dtype: the dtype of the caches, float32 or bfloat16.
        takes: functions that take over a prompt from the model's own cache.
    """

    def __init__(self, size: int, capacity: int, dtype: torch.dtype):
        self.x, self.normed = torch.zeros(size), torch.zeros(size)
        self.capacity, self.dtype = capacity, dtype
        self.takes: list[Take] = []
        self.caches: list[Tensor] = []
        self._pool = Pool()
        self._scratch: dict[tuple, Tensor] = {}
        self._turns: dict[tuple, Tensor] = {}

    def scratch(self, name: str, *shape: int) -> Tensor:
        """Return memory that all layers share under this name."""
        if (name, shape) not in self._scratch:
            self._scratch[name, shape] = torch.zeros(shape)
        return self._scratch[name, shape]

    def cache(self, heads: int, width: int, length: int | None = None) -> Tensor:
        """Return a new cache of shape `[heads, length, width]`.

        The length is the capacity unless it is given.
        """
        length = self.capacity if length is None else length
        cache = self._pool.zeros(heads, length, width, dtype=self.dtype)
        self.caches.append(cache)
        return cache

    def turns(self, dim: int, parameters: dict) -> Tensor:
        """Return the rotary cosines and sines, of shape `[capacity, dim/2, 2]`."""
        key = (dim, *sorted(parameters.items()))
        if key not in self._turns:
            positions = torch.arange(self.capacity)[None]
            self._turns[key] = torch.stack(angles(positions, dim, parameters), -1)[0]
        return self._turns[key]


def bind(module: nn.Module, program: Program, room: Room) -> None:
    """Write the operations of a module.

    Raises:
        DeepSeekLearnError: if no function is registered for the class of the module.
    """
    binder = _binders.get(type(module))
    if binder is None:
        known = ", ".join(sorted(kind.__name__ for kind in _binders))
        raise DeepSeekLearnError(
            f"model contains {type(module).__name__}, which cannot be decoded this way; "
            f"it may contain {known}."
        )
    binder(module, program, room)
