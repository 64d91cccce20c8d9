"""Take a snapshot of everything reachable from a set of objects, and restore it.

A pass can change state in many places, such as a buffer, a cache object among the
arguments, an attribute, a list in a closure, a global variable in the user's module, or
a random number generator. A snapshot therefore walks the object graph once and saves
the contents of every mutable object, and `put_back` restores whatever has changed. The
walk skips Python modules, threads and files. It also skips the globals and the class
attributes of installed packages, because they are not part of the model.
"""

import collections
import io
import types
import weakref
from collections.abc import Callable
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from .remembering import nothing, ways
from .tensor_state import TensorState, parts

_ATOMS: tuple[type, ...] = (
    str, bytes, int, float, complex, bool, type(None), type(...), type(NotImplemented),
    range, slice, types.ModuleType, types.CodeType, types.FrameType,
    types.TracebackType, torch.dtype, torch.device, torch.layout, torch.memory_format,
    weakref.ref, *weakref.ProxyTypes, io.IOBase, Enum,
)  # fmt: skip
_CLEARABLE = {dict, collections.OrderedDict, list, set, collections.deque}


class Snapshot:
    """The state of everything reachable from `roots`.

    Attributes:
        tensors: the states of all tensors that were found.
    """

    def __init__(self, *roots: Any):
        self.tensors: list[TensorState] = []
        self._known: dict[int, Any] = {}  # references keep the ids unique
        self._empty: list[Any] = []
        self._undo: list[Callable[[], str | None]] = []
        self.add(*roots)

    def add(self, *roots: Any) -> None:
        """Save the roots and anything reachable from them that is not saved yet."""
        waiting = list(roots)
        while waiting:
            item = waiting.pop()
            # isinstance would report the class of a proxy's referent
            if issubclass(type(item), _ATOMS) or id(item) in self._known:
                continue
            self._known[id(item)] = item
            if issubclass(type(item), Tensor):
                waiting += self._add_tensor(item)
            # models have hundreds of empty hook dicts; clearing restores them
            if type(item) in _CLEARABLE and not item:
                self._empty.append(item)
                continue
            for save in ways(item):
                undo, children = save(item)
                if undo is not nothing:
                    self._undo.append(undo)
                waiting += children

    def put_back(self) -> list[str]:
        """Restore the saved state.

        Returns:
            Descriptions of everything that cannot be restored.
        """
        for container in [c for c in self._empty if c]:
            container.clear()
        problems = [undo() for undo in self._undo]
        problems += [state.put_back() for state in self.tensors]
        return [problem for problem in problems if problem]

    def _add_tensor(self, tensor: Tensor) -> list[Tensor]:
        if is_lazy(tensor):
            return []
        self.tensors.append(TensorState(tensor))
        return parts(tensor)
