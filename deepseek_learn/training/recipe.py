"""How a model is trained, and for how long: two objects that several runs can share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import check_count
from .schedule import wsd


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Fraction of correct predictions."""
    return (logits.argmax(1) == labels).float().mean().item()


@dataclass(frozen=True)
class Recipe:
    """What runs that are compared have in common, apart from model, data and optimizer.

    Attributes:
        loss: `(logits [B, K], labels [B]) -> scalar`, mean over the batch.
        metric: `(logits [N, K], labels [N]) -> float` on validation, higher is better.
        batch_size: batch size for a dataset, 64 by default; a loader has its own.
        schedule: the optimizer's learning rates are multiplied by
            `schedule(step, steps)`, steps counted from 0 over all epochs.
        augment: `(inputs [B, ...], generator) -> inputs`; draws from the generator.
        autocast: `torch.bfloat16` runs the forward pass in mixed precision, "auto" does
            so where the device multiplies bfloat16 faster than float32, None never.
    """

    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    metric: Callable[[Tensor, Tensor], float] = accuracy
    batch_size: int | None = None
    schedule: Callable[[int, int], float] = wsd
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    autocast: torch.dtype | str | None = "auto"


@dataclass(frozen=True)
class Limits:
    """What ends an epoch or a run early.

    Attributes:
        epoch_batches: batches per epoch, a new random subset of the training data each
            time (a loader's first ones); by default all of it.
        patience: stop after this many epochs without a better metric.
        seconds: stop after the epoch in which the training time reaches this many s.

    Raises:
        ValueError, TypeError: for a number out of range, or not whole where it must be.
    """

    epoch_batches: int | None = None
    patience: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be above 0, or None; got {limit}.")
            if limit is not None and name != "seconds":
                check_count(name, limit)
