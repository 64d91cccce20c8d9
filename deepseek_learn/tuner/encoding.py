"""Map all kinds of hyperparameters to points in the unit cube, and back.

A number is mapped linearly to the range 0..1, or by its logarithm if its distribution
is logarithmic. Each value of an integer or stepped number occupies a cell of equal
width. To give the two end values a full cell as well, the cube extends half a step
beyond them. Each of K categories occupies a cell of width 1/K. `snap` moves a point to
the center of its cell. In the inputs of the surrogate (`features`), categories are
one-hot encoded instead.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .engine import optuna
from .space import Number

BaseDistribution = optuna.distributions.BaseDistribution
CategoricalDistribution = optuna.distributions.CategoricalDistribution
IntDistribution = optuna.distributions.IntDistribution


class Axis:
    """Map the values of one hyperparameter to the range 0..1, and back.

    Attributes:
        categories: the number of choices, or 0 if the hyperparameter is a number.
    """

    def __init__(self, distribution: BaseDistribution):
        if not isinstance(distribution, Number | CategoricalDistribution):
            raise TypeError(
                "distribution must be an Optuna float, int or categorical distribution"
                f"; got {type(distribution).__name__}."
            )
        self.distribution, self.categories = distribution, 0
        if isinstance(distribution, CategoricalDistribution):
            self.categories = len(distribution.choices)
            return
        # without the margin, rounding would give the two end values half a cell each
        half_step = 0.5 * (distribution.step or 0)
        self.log = distribution.log
        ends = distribution.low - half_step, distribution.high + half_step
        self.low, self.high = map(math.log, ends) if self.log else ends

    @property
    def continuous(self) -> bool:
        """Whether every point between 0 and 1 represents a different value."""
        return isinstance(self.distribution, Number) and self.distribution.step is None

    def encode(self, value: Any) -> float:
        if self.categories:
            index = self.distribution.to_internal_repr(value)
            return (index + 0.5) / self.categories
        if self.high == self.low:  # a single value
            return 0.5
        scaled = math.log(value) if self.log else value
        # rounding in the logarithm may put an end value slightly outside
        return min(max((scaled - self.low) / (self.high - self.low), 0.0), 1.0)

    def decode(self, unit: float) -> Any:
        if isinstance(self.distribution, CategoricalDistribution):
            index = min(int(unit * self.categories), self.categories - 1)
            return self.distribution.choices[index]
        value = self.low + unit * (self.high - self.low)
        value = math.exp(value) if self.log else value
        low, step = self.distribution.low, self.distribution.step
        if step is not None:
            value = low + step * round((value - low) / step)
        value = min(max(value, low), self.distribution.high)
        return int(value) if isinstance(self.distribution, IntDistribution) else value

    def snap(self, units: np.ndarray) -> np.ndarray:
        """Return the centers of the cells that contain `units`.

        Continuous values are only clipped to the range 0..1.
        """
        if isinstance(self.distribution, CategoricalDistribution):
            index = np.minimum(
                (units * self.categories).astype(int), self.categories - 1
            )
            return (index + 0.5) / self.categories
        if self.high == self.low:
            return np.full_like(units, 0.5)
        low, step = self.distribution.low, self.distribution.step
        if step is None:
            return np.clip(units, 0, 1)
        # round in the units of the hyperparameter: its steps are not equal in logarithms
        value = self.low + units * (self.high - self.low)
        value = np.exp(value) if self.log else value
        value = low + step * np.rint((value - low) / step)
        value = np.clip(value, low, self.distribution.high)
        value = np.log(value) if self.log else value
        return (value - self.low) / (self.high - self.low)


class Encoding:
    """Map a search space of D hyperparameters to the unit cube.

    Args:
        space: a dictionary of Optuna distributions. The axes of the cube are in the
            same order.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]):
        self.names = list(space)
        self.axes = [Axis(distribution) for distribution in space.values()]
        self.categories = np.array([axis.categories for axis in self.axes], dtype=int)
        # the index of the hyperparameter that each column of `features` belongs to
        self.owner = np.repeat(np.arange(len(space)), np.maximum(self.categories, 1))

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """Return the point that represents a trial's hyperparameters, of shape `[D]`.

        A missing hyperparameter is placed in the middle of its axis, so that all trials
        without it are at distance 0 from one another along that axis.
        """
        pairs = zip(self.names, self.axes, strict=True)
        return np.array(
            [axis.encode(params[n]) if n in params else 0.5 for n, axis in pairs]
        )

    def decode(self, point: np.ndarray) -> dict[str, Any]:
        """Return the hyperparameters at a point of shape `[D]` in the unit cube."""
        triples = zip(self.names, self.axes, point, strict=True)
        return {name: axis.decode(float(unit)) for name, axis, unit in triples}

    def snap(self, points: np.ndarray) -> np.ndarray:
        """Move each point to the center of its cell. The points have shape `[N, D]`."""
        columns = [a.snap(c) for a, c in zip(self.axes, points.T, strict=True)]
        return np.stack(columns, axis=1)

    def features(self, points: np.ndarray) -> np.ndarray:
        """Return the inputs for the surrogate, a float array of shape `[N, F]`.

        Numbers are left unchanged. Categories are one-hot encoded and scaled so that
        any two different categories are at distance 1.
        """
        columns = []
        for axis, column in zip(self.axes, points.T, strict=True):
            if not axis.categories:
                columns.append(column[:, None])
                continue
            index = np.minimum(
                (column * axis.categories).astype(int), axis.categories - 1
            )
            columns.append(np.eye(axis.categories)[index] / math.sqrt(2))
        return np.concatenate(columns, axis=1)
