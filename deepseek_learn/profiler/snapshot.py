"""Everything that can be reached from some objects, as it is now, and the way back.

A pass may leave its mark anywhere: in a buffer, a cache object among the arguments, an
attribute, a list in a closure, a global of the user's module, a random number generator.
So the graph of objects is walked once, each mutable one remembers its own contents, and
`put_back` writes back whatever differs. Not entered are modules, threads and files, nor
the globals and class attributes of installed packages: those belong to nobody's model.
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

_ATOMS = (
    str, bytes, int, float, complex, bool, type(None), type(...), type(NotImplemented),
    range, slice, types.ModuleType, types.CodeType, types.FrameType,
    types.TracebackType, torch.dtype, torch.device, torch.layout, torch.memory_format,
    weakref.ref, *weakref.ProxyTypes, io.IOBase, Enum,
)  # fmt: skip
_CLEARABLE = {dict, collections.OrderedDict, list, set, collections.deque}


class Snapshot:
    """The state of all that `roots` reach.

    Attributes:
        tensors: of every tensor met, its state.
    """

    def __init__(self, *roots: Any):
        self.tensors: list[TensorState] = []
        self._known: dict[int, Any] = {}  # kept alive: an id must stay one object's
        self._empty: list[Any] = []
        self._undo: list[Callable[[], str | None]] = []
        self.add(*roots)

    def add(self, *roots: Any) -> None:
        """Remember these and what they reach, as far as it is not known yet."""
        waiting = list(roots)
        while waiting:
            item = waiting.pop()
            # never isinstance: a proxy would answer for what it stands for
            if issubclass(type(item), _ATOMS) or id(item) in self._known:
                continue
            self._known[id(item)] = item
            if issubclass(type(item), Tensor):
                waiting += self._add_tensor(item)
            # hundreds of hook tables: these are quickly looked through
            if type(item) in _CLEARABLE and not item:
                self._empty.append(item)
                continue
            for remember in ways(item):
                undo, inside = remember(item)
                if undo is not nothing:
                    self._undo.append(undo)
                waiting += inside

    def put_back(self) -> list[str]:
        """Write back whatever differs; returns what nothing can bring back."""
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
