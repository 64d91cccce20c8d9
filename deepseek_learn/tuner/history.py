"""The trials that a sampler learns from, as arrays."""

from dataclasses import dataclass

import numpy as np

from .pareto import nondominated_rank


@dataclass(frozen=True)
class History:
    """The trials so far, as arrays.

    Attributes:
        points: the points of the trials in the unit cube, of shape `[N, D]`.
        losses: the objective values to be minimized, of shape `[N, M]`. Failed trials
            have NaN in every column.
        violations: the amounts by which the limits are exceeded, of shape `[N, K]`. A
            value of at most 0 means that the limit is met; K may be 0.
        pending: the points of trials that are running on other workers, of shape
            `[P, D]`.
    """

    points: np.ndarray
    losses: np.ndarray
    violations: np.ndarray
    pending: np.ndarray

    def __len__(self) -> int:
        return len(self.points)

    def first(self, count: int) -> "History":
        return self.subset(slice(count))

    def subset(self, trials: np.ndarray | slice) -> "History":
        """Return a history with the selected trials and all of the pending ones."""
        parts = (self.points[trials], self.losses[trials], self.violations[trials])
        return History(*parts, self.pending)

    def filled(self) -> "History":
        """Return a copy that gives failed trials the worst losses of the other trials.

        Failed trials are informative because training is likely to diverge again in the
        same region.
        """
        failed = np.isnan(self.losses).any(1)  # [N]
        others = self.losses[~failed]
        losses = self.losses.copy()
        losses[failed] = others.max(0) if len(others) else 0.0
        return History(self.points, losses, self.violations, self.pending)

    def ranks(self) -> np.ndarray:
        """Return the rank of each trial, an array of shape `[N]`; lower is better.

        Feasible trials are ranked by front. Infeasible trials come after them and are
        ranked by how much they exceed the limits. Because units differ, the excess over
        each limit is divided by the largest absolute value in its column.
        """
        # 1. The excess over each limit, relative to the largest value in its column.
        largest = np.maximum(np.abs(self.violations).max(0), 1e-12)
        excess = (np.maximum(self.violations, 0) / largest).sum(1)
        # 2. Fronts among the feasible trials, then all others in order of their excess.
        # The offset N puts even the best of them behind the last front.
        ranks = np.empty(len(self), dtype=float)
        feasible = excess == 0
        if feasible.any():
            ranks[feasible] = nondominated_rank(self.losses[feasible])
        ranks[~feasible] = len(self) + np.argsort(np.argsort(excess[~feasible]))
        return ranks
