"""Settings and limits for training, which can be shared by several runs."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import check_count
from .schedule import wsd


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the fraction of correct predictions.

    >>> import torch
    >>> from deepseek_learn.training import accuracy
    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 1.0]]), torch.tensor([0, 0]))
    0.5
    """
    return (logits.argmax(1) == labels).float().mean().item()


@dataclass(frozen=True)
class Recipe:
    """The settings for a training run, apart from the model, data and optimizer.

    Use the same recipe for all runs that you want to compare.

    Attributes:
        loss: a function `(logits [B, K], labels [B]) -> scalar` that returns the mean
            over the batch.
        metric: a function `(logits [N, K], labels [N]) -> float` for validation. Higher
            values must be better.
        batch_size: the number of examples per batch of a dataset, 64 by default. A
            loader has its own batch size.
        schedule: a function `schedule(step, steps)` that returns the factor for the
            optimizer's learning rates. Steps are counted from 0 over all epochs.
        augment: a function `(inputs [B, ...], generator) -> inputs` that uses only the
            generator for randomness.
        autocast: `torch.bfloat16` runs the forward pass in mixed precision. `"auto"`
            does the same if the device multiplies bfloat16 faster than float32, and
            None disables it.

    >>> from deepseek_learn import training
    >>> recipe = training.Recipe(batch_size=32, schedule=training.cosine)
    >>> recipe.batch_size, recipe.schedule.__name__
    (32, 'cosine')
    """

    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy
    metric: Callable[[Tensor, Tensor], float] = accuracy
    batch_size: int | None = None
    schedule: Callable[[int, int], float] = wsd
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None
    autocast: torch.dtype | str | None = "auto"


@dataclass(frozen=True)
class Limits:
    """Limits that end an epoch or a run early.

    Attributes:
        epoch_batches: the number of batches per epoch. Each epoch uses a new random
            subset of the training data, or the first batches of a loader. By default,
            all of the data are used.
        patience: the number of epochs without an improvement in the metric after which
            the run stops.
        seconds: the training time in seconds. The run stops after the epoch in which
            this time is reached.

    Raises:
        ValueError: if a number is out of range.
        TypeError: if a number that must be an integer is not one.

    >>> from deepseek_learn.training import Limits
    >>> Limits(epoch_batches=100, patience=3, seconds=600)
    Limits(epoch_batches=100, patience=3, seconds=600)
    """

    epoch_batches: int | None = None
    patience: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        for name, limit in vars(self).items():
            if limit is not None and not limit > 0:
                raise ValueError(f"{name} must be positive or None; got {limit}.")
            if limit is not None and name != "seconds":
                check_count(name, limit)
