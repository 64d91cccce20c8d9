"""Every pass starts alike, and afterwards all that the user owns is as it was before."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import DeepSeekLearnError
from .before_writing import BeforeWriting
from .snapshot import Snapshot


class UnsteadyModelError(DeepSeekLearnError):
    """No two passes of the model start alike, so there is nothing to measure."""


class Start:
    """What a pass starts from: no gradients, and everything else as it was found.

    Args:
        model: and whatever else a pass may change: arguments, a loss.
    """

    def __init__(self, model: nn.Module, train: bool, *others: Any):
        self.model, self.train = model, train
        self._modes = [(module, module.training) for module in model.modules()]
        # a scripted module does not show its tensors as attributes
        held = [*model.parameters(), *model.buffers()]
        self._snapshot = Snapshot(model, held, *others, *_generators())
        copied = [s.tensor for s in self._snapshot.tensors if s.is_copied]
        self._written = BeforeWriting(copied)
        self._graphs = {t.grad_fn for t in self.tensors if t.grad_fn is not None}

    @property
    def tensors(self) -> list[Tensor]:
        """All that were there before the pass."""
        return [state.tensor for state in self._snapshot.tensors]

    def again(self) -> None:
        """Go back to it, in the mode of the pass.

        Raises:
            UnsteadyModelError: when something cannot be brought back.
        """
        if problems := self._put_back():
            raise UnsteadyModelError(
                f"a pass of {type(self.model).__name__} changes {problems[0]}: the next "
                f"pass would start from another state, so it cannot be profiled."
            )
        for state in self._snapshot.tensors:
            state.drop_gradient()
        # a module that was told to evaluate in a model that trains keeps doing so
        if self.train != self.model.training:
            self.model.train(self.train)
        elif not self.train:
            self.model.eval()

    def first(self, run: Callable[[], object]) -> None:
        """The first pass, in which everything that it writes over is kept."""
        with self._written:
            run()

    def check_graph(self, loss: Tensor) -> None:
        """Refuse a backward pass into a graph that was there before the pass.

        It would free that graph, and leave gradients with whatever it leads to.
        """
        waiting, seen = [loss.grad_fn], set()
        while self._graphs and waiting:
            node = waiting.pop()
            if node in self._graphs:
                raise UnsteadyModelError(
                    "the backward pass would run into a graph that an argument or the "
                    "model's state holds from before: detach() that tensor first."
                )
            if node is not None and node not in seen:
                seen.add(node)
                waiting += [below for below, _ in node.next_functions]
        self._graphs = set()  # all passes are alike

    def leave(self) -> None:
        """Bring back what the user had, gradients included."""
        self._put_back()
        for state in self._snapshot.tensors:
            state.put_gradient_back()

    def _put_back(self) -> list[str]:
        problems = self._snapshot.put_back()
        self._written.put_back()
        for module, mode in self._modes:
            if module.training != mode:
                module.training = mode
        return problems


@contextmanager
def as_it_was(model: nn.Module, train: bool, *others: Any) -> Iterator[Start]:
    """At the end all that the model and the `others` reach is as it was before.

    Modes, gradients, buffers, attributes, hooks, inputs, cache objects, and the random
    numbers of PyTorch, NumPy and Python.
    """
    start = Start(model, train, *others)
    try:
        yield start
    finally:
        start.leave()


def materialized(model: nn.Module, args: tuple, kwargs: dict) -> nn.Module:
    """The model, or a copy that a first call has given its lazy parameters."""
    lazy = [t for t in [*model.parameters(), *model.buffers()] if is_lazy(t)]
    if not lazy:
        return model
    # a lazy buffer, unlike a lazy parameter, cannot be copied
    buffers = [t for t in lazy if not isinstance(t, nn.Parameter)]
    memo = {id(t): type(t)(device=t.device, dtype=t.dtype) for t in buffers}
    filled = copy.deepcopy(model, memo)
    before = Snapshot(args, kwargs, *_generators())
    filled.eval()
    with torch.no_grad():
        filled(*args, **kwargs)
    before.put_back()
    for module, original in zip(filled.modules(), model.modules(), strict=True):
        module.training = original.training
    return filled


@contextmanager
def on(device: torch.device) -> Iterator[None]:
    """Events and waiting belong to the model's GPU, not to the current one."""
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        yield


def _generators() -> list:
    """Where PyTorch, NumPy and Python take the random numbers that belong to nobody."""
    gpu = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    return [torch.default_generator, *gpu, random._inst, np.random.mtrand._rand]
