"""The criteria that score weight rows, and the registry `grouping` that lists them.

A criterion estimates the cost of giving a row few bits. It takes a `Layer` and returns
one of the following tensors:

- the importance of each row, of shape `[N]`. Rows are ranked by importance regardless
  of their length, and each additional bit is assumed to quarter the damage
  (:math:`4^{-b}`).
- the damage to each row at each bit width in `layer.levels`, of shape `[levels, N]`.

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
    """A layer to be scored by a criterion.

    Attributes:
        name: the name of the layer in the model.
        weight: the weight matrix, a float32 tensor of shape `[N, K]`.
        statistics: the second moment of the inputs (of shape `[K, K]` or `[K]`), the
            squared gradient (`[N]`) and the activation frequency (`[N]`).
        levels: the allowed bit widths, in ascending order.
        group_size: the number of weights that share a scale.

    >>> import torch
    >>> from deepseek_learn import dpg
    >>> @dpg.grouping.register("largest_weights")
    ... def largest_weights(layer: dpg.Layer) -> torch.Tensor:
    ...     return layer.weight.abs().amax(1)  # the larger, the more bits: [rows]
    >>> net = torch.nn.Linear(64, 32)
    >>> calibration = dpg.calibrate(net, [torch.rand(16, 64)])
    >>> allocation = dpg.allocate(net, calibration, bits=4, criterion="largest_weights")
    """

    name: str
    weight: Tensor
    statistics: Statistics
    levels: tuple[int, ...]
    group_size: int

    @property
    def stored(self) -> int:
        """The number of weights that count toward the budget, including padding."""
        rows, columns = self.weight.shape
        return (
            ceil(rows / ROWS) * ROWS * ceil(columns / self.group_size) * self.group_size
        )

    @cached_property
    def errors(self) -> Tensor:
        """The output error E[((w - ŵ)·x)²] of each row at each level.

        The tensor has shape `[levels, N]`. If the inputs are correlated, the errors are
        estimates (see `rounding.output_errors`). They use the second moment as it was
        measured; only GPTQ uses the shrunk one.
        """
        moment = self.statistics.second_moment
        return output_errors(self.weight, self.levels, self.group_size, moment)


def damage(criterion: str, layer: Layer) -> Tensor:
    """Compute the damage to each row at each level.

    Returns a float64 tensor of shape `[levels, N]`.

    Raises:
        UnknownNameError: if the criterion is unknown. The message lists the known ones.
        ValueError: if the criterion returns anything other than a tensor of the
            expected shape, or if its scores contain NaN, infinity or negative numbers.
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
        # One more bit halves the step of rounding, and so quarters the squared error. The
        # knapsack compares damage per stored weight, so multiply by a row's stored weights:
        # then a long row ranks as its importance says, and not below a short one.
        decay = 4.0 ** -torch.tensor(layer.levels, dtype=torch.float64)
        scores = decay[:, None] * scores * layer.stored / rows  # [levels, N]
    return scores


@grouping.register("sensitivity")
def sensitivity(layer: Layer) -> Tensor:
    """Return the expected output damage, Fisher information times rounding error.

    The Fisher information is shrunk toward its mean (see `Statistics`).
    """
    return layer.statistics.shrunk_gradient * layer.errors


@grouping.register("frequency")
def frequency(layer: Layer) -> Tensor:
    """Return the activation frequency of each neuron, as in the guide."""
    return layer.statistics.frequency


@grouping.register("frequency×error")
def frequency_error(layer: Layer) -> Tensor:
    """Return activation frequency times rounding error, which ignores the gradient."""
    return layer.statistics.frequency * layer.errors


@grouping.register("magnitude")
def magnitude(layer: Layer) -> Tensor:
    """Return the mean squared weight of each row."""
    return layer.weight.square().mean(1)


@grouping.register("random")
def random(layer: Layer) -> Tensor:
    """Return a reproducible random score for each row, as a baseline."""
    # not `hash`, which Python salts: it differs from one process to the next
    seed = sum(map(ord, layer.name)) * 1009 + len(layer.weight)
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(layer.weight), generator=generator)
