r"""Criteria that score rows: the registry `grouping`, and the built-in criteria.

A criterion states the cost of giving a row few bits. It takes a `Layer` and returns

- `[N]`, the importance of each row: rows are ranked by it, whatever their length, and
  each additional bit is assumed to quarter the damage (:math:`4^{-b}`), or
- `[levels, N]`, the damage of each row at each of the bit widths in `layer.levels`.

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
        weight: float32 `[N, K]`.
        statistics: second moment `[K, K]` or `[K]`, gradient `[N]`, frequency `[N]`.
        levels: the allowed bit widths, ascending.
        group_size: number of weights that share a scale.
    """

    name: str
    weight: Tensor
    statistics: Statistics
    levels: tuple[int, ...]
    group_size: int

    @property
    def stored(self) -> int:
        """Number of stored weights, padding included; the budget counts these."""
        rows, columns = self.weight.shape
        return (
            ceil(rows / ROWS) * ROWS * ceil(columns / self.group_size) * self.group_size
        )

    @cached_property
    def errors(self) -> Tensor:
        """Expected E[((w - ŵ)·x)²] of each row at each level, `[levels, N]`.

        For correlated inputs this is an estimate, see `rounding.output_errors`.
        """
        moment = self.statistics.second_moment
        return output_errors(self.weight, self.levels, self.group_size, moment)


def damage(criterion: str, layer: Layer) -> Tensor:
    """The damage of each row at each level, by a criterion, float64 `[levels, N]`.

    Raises:
        UnknownNameError: for an unknown criterion, listing the known ones.
        ValueError: if it returns another shape, or NaN, infinity or negative numbers.
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
    """Fisher information x rounding error: expected damage to the model's output."""
    return layer.statistics.gradient * layer.errors


@grouping.register("frequency")
def frequency(layer: Layer) -> Tensor:
    """The guide's criterion: how often the neuron is above zero."""
    return layer.statistics.frequency


@grouping.register("frequency×error")
def frequency_error(layer: Layer) -> Tensor:
    """Frequency x rounding error: `sensitivity` without the gradient."""
    return layer.statistics.frequency * layer.errors


@grouping.register("magnitude")
def magnitude(layer: Layer) -> Tensor:
    """The row's mean squared weight."""
    return layer.weight.square().mean(1)


@grouping.register("random")
def random(layer: Layer) -> Tensor:
    """A reproducible random number for each row: the baseline for other criteria."""
    seed = sum(map(ord, layer.name)) * 1009 + len(layer.weight)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(layer.weight), generator=generator)
