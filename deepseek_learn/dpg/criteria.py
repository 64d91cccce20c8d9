r"""Criteria that score rows: the registry `grouping`, and the built-in criteria.

A criterion states the cost of giving a row few bits. It takes a `Layer` and returns

- `[N]`, the importance of each row: rows are ranked by it regardless of their length,
  and each additional bit is assumed to quarter the damage (:math:`4^{-b}`), or
- `[levels, N]`, the damage to each row at each of the bit widths in `layer.levels`.

>>> @grouping.register("custom")                                    # doctest: +SKIP
... def custom(layer):
...     return layer.statistics.frequency * layer.errors

Lesson: `notebooks/innovation/01_grouping_strategies.ipynb`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import torch
from torch import Tensor

from ..registry import Registry
from .matrix import ROWS
from .rounding import output_errors
from .statistics import Statistics

grouping: Registry[Callable[["Layer"], Tensor]] = Registry("grouping strategy")


@dataclass(frozen=True)
class Layer:
    """The input of a criterion.

    Attributes:
        name: the layer's name in the model.
        weight: the layer's weight, float32 `[N, K]`.
        statistics: its second moment `[K, K]` or `[K]`, gradient `[N]` and frequency
            `[N]`.
        levels: the allowed bit widths, in ascending order.
        group_size: number of weights that share a scale.
    """

    name: str
    weight: Tensor
    statistics: Statistics
    levels: tuple[int, ...]
    group_size: int

    @property
    def stored(self) -> int:
        """The number of stored weights, including padding, as counted by the budget."""
        rows, columns = self.weight.shape
        return (
            ceil(rows / ROWS) * ROWS * ceil(columns / self.group_size) * self.group_size
        )

    @cached_property
    def errors(self) -> Tensor:
        """The output error E[((w - ŵ)·x)²] of each row at each level, `[levels, N]`.

        For correlated inputs, this is an estimate (see `rounding.output_errors`).
        """
        moment = self.statistics.second_moment
        return output_errors(self.weight, self.levels, self.group_size, moment)


def damage(criterion: str, layer: Layer) -> Tensor:
    """Compute the damage to each row at each level, float64 `[levels, N]`.

    Raises:
        UnknownNameError: if the criterion is unknown; the message lists the known ones.
        ValueError: if the criterion returns a different shape, or NaN, infinity or
            negative numbers.
    """
    scores = grouping[criterion](layer)
    rows, levels = len(layer.weight), len(layer.levels)
    shape = list(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
    if shape not in ([rows], [levels, rows]):
        raise ValueError(
            f"criterion {criterion!r} must return a tensor [{rows}] or [{levels}, "
            f"{rows}] for layer {layer.name!r}; got {shape}."
        )
    scores = scores.detach().double()
    if not (torch.isfinite(scores) & (scores >= 0)).all():
        raise ValueError(
            f"criterion {criterion!r} must return finite numbers of at least 0 for "
            f"layer {layer.name!r}; got NaN, infinity or a negative number."
        )
    if scores.dim() == 1:
        decay = 4.0 ** -torch.tensor(layer.levels, dtype=torch.float64)
        scores = decay[:, None] * scores * layer.stored / rows  # [levels, N]
    return scores


@grouping.register("sensitivity")
def sensitivity(layer: Layer) -> Tensor:
    """Return Fisher information x rounding error: the expected damage to the output."""
    return layer.statistics.gradient * layer.errors


@grouping.register("frequency")
def frequency(layer: Layer) -> Tensor:
    """Return how often each neuron is above zero, which is the guide's criterion."""
    return layer.statistics.frequency


@grouping.register("frequency×error")
def frequency_error(layer: Layer) -> Tensor:
    """Return frequency x rounding error: `sensitivity` without the gradient."""
    return layer.statistics.frequency * layer.errors


@grouping.register("magnitude")
def magnitude(layer: Layer) -> Tensor:
    """Return the mean squared weight of each row."""
    return layer.weight.square().mean(1)


@grouping.register("random")
def random(layer: Layer) -> Tensor:
    """Return a reproducible random number per row, as a baseline for other criteria."""
    seed = sum(map(ord, layer.name)) * 1009 + len(layer.weight)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(layer.weight), generator=generator)
