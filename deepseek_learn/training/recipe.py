"""How a model is trained, and for how long: two objects that several runs can share."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import check_count
from .schedule import wsd


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of correct predictions."""
    return (logits.argmax(1) == labels).float().mean().item()


@dataclass(frozen=True)
class Recipe:
    """The settings that compared runs share, apart from model, data and optimizer.

    Attributes:
        loss: `(logits [B, K], labels [B]) -> scalar`, mean over the batch.
        metric: `(logits [N, K], labels [N]) -> float` in validation; higher is better.
        batch_size: examples per batch of a dataset, 64 by default; a loader has its
            own.
        schedule: the optimizer's learning rates are multiplied by
            `schedule(step, steps)`, with steps counted from 0 over all epochs.
        augment: `(inputs [B, ...], generator) -> inputs`; its randomness comes from the
            generator.
        autocast: `torch.bfloat16` runs the forward pass in mixed precision, "auto" does
            so if the device multiplies bfloat16 faster than float32; None never does.
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
        epoch_batches: number of batches per epoch, a new random subset of the training
            data each time (or the first batches of a loader); by default, all of the
            data.
        patience: stop after this many epochs without a better metric.
        seconds: stop after the epoch in which the training time reaches this many
            seconds.

    Raises:
        ValueError, TypeError: if a number is out of range, or not whole where it must
            be.
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
