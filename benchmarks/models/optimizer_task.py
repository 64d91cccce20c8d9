"""A task for comparing optimizers: a model, its batches and its loss.

All randomness comes from the seed: two optimizers with one seed start from the same
weights and see the same batches in the same order.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn


class Task:
    """One task; `batch` and `steps` are those of the AdamW that sets the target.

    Attributes:
        name, title: a short name, and one for display.
        batch: examples per step (for the text: windows).
        steps: of AdamW's runs.
        axes: hyperparameters tuned on this task only; a search starts in the middle.
    """

    name: str
    title: str
    batch: int
    steps: int
    axes: Mapping[str, tuple] = MappingProxyType({})

    def model(self, seed: int) -> nn.Module:
        """A new model in training mode, its weights from the seed."""
        torch.manual_seed(seed)
        return self.build().train()

    def build(self) -> nn.Module:
        raise NotImplementedError

    def batches(self, seed: int) -> Iterator[tuple[Tensor, ...]]:
        """Endless batches `(inputs..., labels)`."""
        raise NotImplementedError

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...]) -> Tensor:
        raise NotImplementedError

    def held_out(self, part: str) -> list[tuple[Tensor, ...]]:
        """Batches of the "validation" or the "test" part, the same each time."""
        raise NotImplementedError

    @torch.no_grad()
    def settle(self, model: nn.Module, batches: int = 16) -> None:
        """Recompute the running statistics of batch norms over training batches.

        After a short run the running averages lag behind the weights, the more so the
        faster these moved: a loss would measure the lag.
        """
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over the batches
        if norms:
            stream = self.batches(-1)
            for _ in range(batches):
                self.loss(model.train(), next(stream))

    @torch.no_grad()
    def evaluate(self, model: nn.Module, part: str) -> float:
        """Mean loss over a held-out part, in evaluation mode, in float32."""
        self.settle(model)
        model.eval()
        total, count = 0.0, 0
        for batch in self.held_out(part):
            total += self.loss(model, batch).item() * len(batch[-1])
            count += len(batch[-1])
        model.train()
        return total / count


def rows_in_order(count: int, batch: int, generator: torch.Generator):
    """Endless batches of indices, reshuffled each epoch, full batches only."""
    while True:
        yield from torch.randperm(count, generator=generator).split(batch)[
            : count // batch
        ]
