"""Start every pass from the same state and restore the user's objects afterwards."""

import copy
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..errors import DeepSeekLearnError
from .before_writing import BeforeWriting
from .snapshot import Snapshot


class UnsteadyModelError(DeepSeekLearnError):
    """Raised when the passes of a model cannot all start from the same state."""


class StartingState:
    """The state from which every pass starts.

    Gradients are cleared, and everything else is the same as before the first pass.

    Args:
        model: the model to run.
        train: whether the passes run in training mode.
        others: other objects that a pass may change, such as arguments or a loss.
    """

    def __init__(self, model: nn.Module, train: bool, *others: Any):
        self.model, self.train = model, train
        self._modes = [(module, module.training) for module in model.modules()]
        # a scripted module does not expose its tensors as attributes
        state = [*model.parameters(), *model.buffers()]
        self._snapshot = Snapshot(model, state, *others, *_generators())
        copied = [s.tensor for s in self._snapshot.tensors if s.is_copied]
        self._written = BeforeWriting(copied)
        self._graphs = {t.grad_fn for t in self.tensors if t.grad_fn is not None}

    @property
    def tensors(self) -> list[Tensor]:
        """All tensors that existed before the first pass."""
        return [state.tensor for state in self._snapshot.tensors]

    def again(self) -> None:
        """Restore the starting state and put the model in the mode for the pass.

        Raises:
            UnsteadyModelError: if a pass has changed something that cannot be restored.
        """
        if problems := self._put_back():
            raise UnsteadyModelError(
                f"{type(self.model).__name__} cannot be profiled because a pass "
                f"changes {problems[0]}; the next pass would start from a different "
                "state."
            )
        for state in self._snapshot.tensors:
            state.drop_gradient()
        # in a model that is already in training mode, frozen submodules may be in
        # evaluation mode and must stay there
        if self.train != self.model.training:
            self.model.train(self.train)
        elif not self.train:
            self.model.eval()

    def first(self, run: Callable[[], object]) -> None:
        """Run the first pass and back up everything that it overwrites."""
        with self._written:
            run()

    def check_graph(self, loss: Tensor) -> None:
        """Check that the backward pass does not reach a graph created before the pass.

        Otherwise, the pass would free that graph and leave gradients on its leaves.

        Raises:
            UnsteadyModelError: if `loss` depends on such a graph.
        """
        stack, visited = [loss.grad_fn], set()
        while self._graphs and stack:
            node = stack.pop()
            if node in self._graphs:
                raise UnsteadyModelError(
                    "the backward pass would reach an autograd graph that was created "
                    "earlier and is part of an argument or the model's state; call "
                    "detach() on that tensor first."
                )
            if node is not None and node not in visited:
                visited.add(node)
                stack += [child for child, _ in node.next_functions]
        self._graphs = set()  # all passes are the same, so one check is enough

    def leave(self) -> None:
        """Restore the original state, including gradients."""
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
def as_it_was(model: nn.Module, train: bool, *others: Any) -> Iterator[StartingState]:
    """Restore everything reachable from the model and `others` at the end of the block.

    This covers modes, gradients, buffers, attributes, hooks, inputs, cache objects, and
    the random number generators of PyTorch, NumPy and Python.
    """
    start = StartingState(model, train, *others)
    try:
        yield start
    finally:
        start.leave()


def materialized(model: nn.Module, args: tuple, kwargs: dict) -> nn.Module:
    """Return the model itself, or a materialized copy if it has lazy parameters.

    The lazy parameters of the copy are initialized by calling it once.
    """
    lazy = [t for t in [*model.parameters(), *model.buffers()] if is_lazy(t)]
    if not lazy:
        return model
    # unlike lazy parameters, lazy buffers cannot be copied
    buffers = [t for t in lazy if not isinstance(t, nn.Parameter)]
    memo = {
        id(t): type(t)(device=t.device, dtype=t.dtype)  # type: ignore[call-arg]  # missing in torch's stub
        for t in buffers
    }
    filled = copy.deepcopy(model, memo)
    before = Snapshot(args, kwargs, *_generators())
    filled.eval()
    try:
        with torch.no_grad():
            filled(*args, **kwargs)
    finally:
        before.put_back()
    for module, original in zip(filled.modules(), model.modules(), strict=True):
        module.training = original.training
    return filled


def on(device: torch.device) -> AbstractContextManager:
    """Make `device` the current device inside a `with` block if it is a GPU.

    CUDA events and synchronization then use this GPU instead of the default one.
    """
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _generators() -> list:
    """Return the global random number generators of PyTorch, NumPy and Python."""
    gpu = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
    return [torch.default_generator, *gpu, random._inst, np.random.mtrand._rand]
