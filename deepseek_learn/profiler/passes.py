"""One pass of a model: a forward pass, or a training step, from a fixed state."""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn

from ..measure import clock
from .module_paths import ModulePaths
from .recorder import Operator, Timer
from .restoring import StartingState, UnsteadyModelError
from .shapes import in_words, leaves

Loss = Callable[[Any], Tensor]


class ModelPass:
    """One forward pass or training step that always starts from the same state."""

    def __init__(
        self,
        model: nn.Module,
        args: tuple,
        kwargs: dict,
        train: bool,
        loss: Loss | None,
        start: StartingState,
    ):
        self.model, self.args, self.kwargs = model, args, kwargs
        self.train, self.loss, self.start = train, loss or _sum, start

    def prepare(self) -> None:
        """Restore the starting state, including the random number generators."""
        self.start.again()

    def first(self) -> None:
        """Run the first pass, which also backs up the data that it overwrites."""
        self.start.first(self)

    def __call__(self) -> None:
        with torch.set_grad_enabled(self.train):
            answer = self.model(*self.args, **self.kwargs)
            if self.train:
                loss = self.loss(answer)
                self.start.check_graph(loss)
                loss.backward()


def _sum(answer: Any) -> Tensor:
    """Return the sum of all output tensors that require gradients."""
    parts = [_real(leaf).sum() for leaf in leaves(answer) if leaf.requires_grad]
    if not parts:
        raise ValueError(
            "train=True requires an output that depends on parameters with "
            "requires_grad=True, but there is none; pass loss= or use train=False."
        )
    return sum(parts[1:], parts[0])


def _real(answer: Tensor) -> Tensor:
    return torch.view_as_real(answer) if answer.is_complex() else answer


def pass_seconds(
    step: ModelPass, device: torch.device, run: Callable | None = None
) -> float:
    step.prepare()
    return clock.seconds(run or step, devices=(device,))


def operator_seconds(
    step: ModelPass, paths: ModulePaths, device: torch.device, operators: list[Operator]
) -> list[float]:
    """Return the time of each operator in one pass, in seconds.

    Raises:
        UnsteadyModelError: if the calls differ from those in the counting pass.
    """
    timer = Timer(paths, device)
    step.prepare()
    with timer:
        step()
    timer.close()
    calls = zip_longest(((o.name, o.output_shape) for o in operators), timer.calls)
    for index, (counted, called) in enumerate(calls):
        if counted != called:
            raise UnsteadyModelError(_difference(step.model, index, counted, called))
    return timer.seconds


def _difference(
    model: nn.Module, index: int, counted: tuple | None, called: tuple | None
) -> str:
    one, two = (
        "no operator" if c is None else f"{c[0]} {in_words(c[1])}"
        for c in (counted, called)
    )
    return (
        f"two passes of {type(model).__name__} differ although they start from the "
        f"same state: call {index} was {one} in one pass and {two} in another; the "
        f"model depends on something that cannot be restored, such as a file, the "
        f"current time, or the internal state of a compiled extension."
    )
