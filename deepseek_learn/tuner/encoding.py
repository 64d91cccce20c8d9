"""Hyperparameters of every kind as points of the unit cube, and back.

A number lies in 0..1 by its value, or by its logarithm where its distribution says so.
Whole and stepped numbers own cells of equal width (the ends too: the cube's edge is half
a step beyond them), a category owns a cell of 1/K; `snap` moves a point to the centers
of its cells. What a surrogate sees instead (`features`) has one column a category.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)


class Axis:
    """One hyperparameter's way between its values and 0..1.

    Attributes:
        categories: how many choices; 0 for a number.
    """

    def __init__(self, distribution: BaseDistribution):
        self.distribution, self.categories = distribution, 0
        if isinstance(distribution, CategoricalDistribution):
            self.categories = len(distribution.choices)
            return
        if not isinstance(distribution, FloatDistribution | IntDistribution):
            raise TypeError(
                "a distribution must be Optuna's float, int or categorical one; got "
                f"{type(distribution).__name__}."
            )
        half = 0.5 * (distribution.step or 0)
        self.log = distribution.log
        ends = distribution.low - half, distribution.high + half
        self.low, self.high = map(math.log, ends) if self.log else ends

    @property
    def continuous(self) -> bool:
        """Whether every point of 0..1 is a value of its own."""
        return not self.categories and self.distribution.step is None

    def encode(self, value: Any) -> float:
        if self.categories:
            index = self.distribution.to_internal_repr(value)
            return (index + 0.5) / self.categories
        if self.high == self.low:  # one value only
            return 0.5
        scaled = math.log(value) if self.log else value
        return min(max((scaled - self.low) / (self.high - self.low), 0.0), 1.0)

    def decode(self, unit: float) -> Any:
        if self.categories:
            index = min(int(unit * self.categories), self.categories - 1)
            return self.distribution.choices[index]
        value = self.low + unit * (self.high - self.low)
        value = math.exp(value) if self.log else value
        low, high, step = (
            getattr(self.distribution, k) for k in ("low", "high", "step")
        )
        if step is not None:
            value = low + step * round((value - low) / step)
        value = min(max(value, low), high)
        return int(value) if isinstance(self.distribution, IntDistribution) else value

    def snap(self, units: np.ndarray) -> np.ndarray:
        """The centers of the cells in which `units` lie; what is continuous stays."""
        if not self.categories and self.high == self.low:
            return np.full_like(units, 0.5)
        if self.continuous:
            return np.clip(units, 0, 1)
        if self.categories:
            index = np.minimum(
                (units * self.categories).astype(int), self.categories - 1
            )
            return (index + 0.5) / self.categories
        low, step = self.distribution.low, self.distribution.step
        value = self.low + units * (self.high - self.low)
        value = np.exp(value) if self.log else value
        value = low + step * np.rint((value - low) / step)
        value = np.clip(value, low, self.distribution.high)
        value = np.log(value) if self.log else value
        return (value - self.low) / (self.high - self.low)


class Encoding:
    """A search space as a unit cube `[D]`.

    Args:
        space: name → Optuna distribution; its order is the cube's.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]):
        self.names = list(space)
        self.axes = [Axis(distribution) for distribution in space.values()]
        self.categories = np.array([axis.categories for axis in self.axes], dtype=int)
        # which hyperparameter each column of `features` belongs to
        self.owner = np.repeat(np.arange(len(space)), np.maximum(self.categories, 1))

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """The point of a trial's hyperparameters, float `[D]`.

        One that it does not have lies in the middle, so that trials without it are at
        no distance along its axis.
        """
        pairs = zip(self.names, self.axes, strict=True)
        return np.array(
            [axis.encode(params[n]) if n in params else 0.5 for n, axis in pairs]
        )

    def decode(self, point: np.ndarray) -> dict[str, Any]:
        """The hyperparameters at a point `[D]` of the unit cube."""
        triples = zip(self.names, self.axes, point, strict=True)
        return {name: axis.decode(float(unit)) for name, axis, unit in triples}

    def snap(self, points: np.ndarray) -> np.ndarray:
        """The points `[N, D]` that `decode` can tell apart."""
        columns = [a.snap(c) for a, c in zip(self.axes, points.T, strict=True)]
        return np.stack(columns, axis=1)

    def features(self, points: np.ndarray) -> np.ndarray:
        """What a surrogate sees, float `[N, F]`: numbers as they are, categories
        one-hot, scaled so that two different ones are at distance 1.
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
