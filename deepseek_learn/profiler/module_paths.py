"""Track which module of a model is running.

This module uses global hooks, because hooks on the individual modules would change the
model: a fused encoder layer, for example, takes its slow path if it has hooks. Global
hooks also leave nothing behind in the model.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import nn
from torch.nn.modules import module as hooks

from .costs import layer_cost


class ModulePaths:
    """Tracks the running module of `model` inside a `follow()` block.

    A module that is registered under several names is identified by the name under
    which it is called.

    Attributes:
        path: the path of the running module, such as "layer1.0.conv1". The path of the
            model itself is "".
        calls: the number of calls to each module, keyed by path.
    """

    def __init__(self, model: nn.Module):
        self.names: dict[int, list[str]] = {}
        for name, module in model.named_modules(remove_duplicate=False):
            self.names.setdefault(id(module), []).append(name)
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self._parameters = {
            id(p): name.rpartition(".")[0] for name, p in model.named_parameters()
        }
        self._stack = [""]
        self.calls: dict[str, int] = {}
        self._path_of_sequence: dict[int, str] = {}
        self._on_layer: Callable[..., None] | None = None
        self._on_output: Callable[[str, Any], None] | None = None

    @property
    def path(self) -> str:
        """The path of the running module.

        During a backward pass, this is the module whose gradient is being computed.
        """
        if len(self._stack) == 1 and (node := torch._C._current_autograd_node()):
            return self._path_of_node(node)
        return self._stack[-1]

    @contextmanager
    def follow(
        self,
        on_layer: Callable[..., None] | None = None,
        on_output: Callable[[str, Any], None] | None = None,
    ) -> Iterator[Self]:
        """Track the module calls in the current thread with global hooks.

        The hooks are removed at the end of the block, even if an exception is raised.

        Args:
            on_layer: a callback for layers that have a cost formula. It is called with
                `(path, layer, inputs)` before the layer runs and with
                `(path, layer, inputs, output)` afterwards.
            on_output: a callback that is called with `(path, output)` after every
                module.
        """
        self._stack, self.calls, self._path_of_sequence = [""], {}, {}
        self._on_layer, self._on_output = on_layer, on_output
        self._thread = threading.get_ident()
        handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave, always_call=True),
        ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()
            self._on_layer = self._on_output = None

    def note_autograd(self) -> None:
        """Record that the newest autograd node belongs to the running module."""
        newest = torch._C._autograd._get_sequence_nr() - 1
        self._path_of_sequence.setdefault(newest, self._stack[-1])

    def _path_of_node(self, node: Any) -> str:
        variable = getattr(node, "variable", None)  # set on AccumulateGrad nodes
        if variable is not None:
            return self._parameters.get(id(variable), "")
        return self._path_of_sequence.get(node._sequence_nr(), "")

    def _enter(self, module: nn.Module, inputs: tuple) -> None:
        if threading.get_ident() != self._thread:
            return
        path = self._name(module)
        self._stack.append(path)
        self.calls[path] = self.calls.get(path, 0) + 1
        if self._on_layer and layer_cost(module):
            self._on_layer(path, module, inputs)

    def _leave(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        if self._on_layer and layer_cost(module):
            self._on_layer(self._stack[-1], module, inputs, output)
        if self._on_output:
            self._on_output(self._stack[-1], output)
        self.note_autograd()  # a custom autograd function may not call any operators
        self._stack.pop()

    def _name(self, module: nn.Module) -> str:
        """Return the module's name, preferring one below the running module."""
        parent = self._stack[-1]
        names = self.names.get(id(module))
        if names is None:  # created during the call, so its work belongs to the caller
            return parent
        descendants = [n for n in names if n.startswith(f"{parent}.") or not parent]
        return (descendants or names)[0]
