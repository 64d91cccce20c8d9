r"""How rows are judged: the registry `grouping`, and the criteria that come with it.

A criterion says what it costs to give a row few bits. It gets a `Layer` and returns

- `[N]`, an importance of each row: rows are ranked by it, whatever their length; each
  bit more is taken to quarter what is at stake (:math:`4^{-b}`), or
- `[levels, N]`, the damage of each row at each of `layer.levels` bits.

>>> @grouping.register("mine")                                      # doctest: +SKIP
... def mine(layer):
...     return layer.statistics.frequency * layer.errors

Lesson: `notebooks/innovation/01_grouping_strategies.ipynb`.
"""

from dataclasses import dataclass
from functools import cached_property
from math import ceil

import torch
from torch import Tensor

from ..registry import Registry
from .matrix import ROWS
from .rounding import output_errors
from .statistics import Statistics

grouping = Registry("grouping strategy")


@dataclass(frozen=True)
class Layer:
    """What a criterion may look at.

    Attributes:
        name: the layer's name in the model.
        weight: float32 `[N, K]`.
        statistics: second moment `[K, K]` or `[K]`, gradient `[N]`, frequency `[N]`.
        levels: the bits that may be given, ascending.
        group_size: weights that share a scale.
    """

    name: str
    weight: Tensor
    statistics: Statistics
    levels: tuple[int, ...]
    group_size: int

    @property
    def stored(self) -> int:
        """Weights that are stored, padding included: what the bits are paid for."""
        rows, columns = self.weight.shape
        return (
            ceil(rows / ROWS) * ROWS * ceil(columns / self.group_size) * self.group_size
        )

    @cached_property
    def errors(self) -> Tensor:
        """E[((w - ŵ)·x)²] to expect of each row at each level, `[levels, N]`.

        See `rounding.output_errors`: with correlated inputs it is an estimate.
        """
        moment = self.statistics.second_moment
        return output_errors(self.weight, self.levels, self.group_size, moment)


def damage(criterion: str, layer: Layer) -> Tensor:
    """The criterion's damage of each row at each level, float64 `[levels, N]`.

    Raises:
        UnknownNameError: naming the criteria there are.
        ValueError: for an answer of another shape, or with NaN or negative numbers.
    """
    answer = grouping[criterion](layer)
    rows, levels = len(layer.weight), len(layer.levels)
    shape = list(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
    if shape not in ([rows], [levels, rows]):
        raise ValueError(
            f"criterion {criterion!r} must return a tensor [{rows}] or [{levels}, "
            f"{rows}] for layer {layer.name!r}; got {shape}."
        )
    answer = answer.detach().double()
    if not (torch.isfinite(answer) & (answer >= 0)).all():
        raise ValueError(
            f"criterion {criterion!r} must return finite numbers of at least 0 for "
            f"layer {layer.name!r}; got NaN, infinity or a negative number."
        )
    if answer.dim() == 1:
        falling = 4.0 ** -torch.tensor(layer.levels, dtype=torch.float64)
        answer = falling[:, None] * answer * layer.stored / rows
    return answer


@grouping.register("sensitivity")
def sensitivity(layer: Layer) -> Tensor:
    """Fisher information x rounding error: what the model's answer loses."""
    return layer.statistics.gradient * layer.errors


@grouping.register("frequency")
def frequency(layer: Layer) -> Tensor:
    """The guide's: how often the neuron is above zero."""
    return layer.statistics.frequency


@grouping.register("frequency×error")
def frequency_error(layer: Layer) -> Tensor:
    """Frequency x rounding error: Fisher's without the gradient."""
    return layer.statistics.frequency * layer.errors


@grouping.register("magnitude")
def magnitude(layer: Layer) -> Tensor:
    """The row's mean squared weight."""
    return layer.weight.square().mean(1)


@grouping.register("random")
def random(layer: Layer) -> Tensor:
    """A number drawn for each row, the same at each run: what others must beat."""
    seed = sum(map(ord, layer.name)) * 1009 + len(layer.weight)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(layer.weight), generator=generator)
