"""The surrogates of a search: one Gaussian process per objective and per limit."""

import numpy as np

from .encoding import Encoding
from .gaussian_process import GaussianProcess, fit_lengths, soften
from .history import History

ALWAYS, REFIT = 40, 1.25  # refit at each trial up to 40, then at a quarter more trials


class Models:
    """One Gaussian process per objective and per limit.

    Attributes:
        losses: the softened and standardized losses of the history, of shape `[N, M]`.
    """

    def __init__(self, encoding: Encoding, history: History, logs: list[np.ndarray]):
        features = encoding.features(history.points)
        self._encoding = encoding
        # Soften first: after standardizing, one diverged trial would leave all the others
        # at almost the same value.
        columns = [soften(column) for column in history.losses.T]
        scaled = [_standard(column) for column in columns]
        self.losses = np.stack([column for column, _ in scaled], axis=1)
        limits = [_standard(column) for column in history.violations.T]
        # the zero of each limit on the scale of its model
        self._zeros = np.array([zero for _, zero in limits])
        targets = [*self.losses.T, *(column for column, _ in limits)]
        self._processes = [
            GaussianProcess(features, column, encoding.owner, log)
            for column, log in zip(targets, logs, strict=True)
        ]

    def losses_at(self, points: np.ndarray, spreads: float = 0.0) -> np.ndarray:
        """Predict the losses at the given points, minus `spreads` standard deviations.

        Returns:
            A float array of shape `[N, M]`.
        """
        features = self._encoding.features(points)
        count = self.losses.shape[1]
        processes = self._processes[:count]
        return np.stack([p.optimistic(features, spreads) for p in processes], axis=1)

    def excess_at(self, points: np.ndarray) -> np.ndarray:
        """Predict how much each point exceeds the limits in total.

        Returns:
            A float array of shape `[N]`, which is 0 where all limits are met.
        """
        limits = self._processes[self.losses.shape[1] :]
        if not limits:
            return np.zeros(len(points))
        features = self._encoding.features(points)
        values = np.stack([p.mean(features) for p in limits], axis=1)
        return np.maximum(values - self._zeros, 0).sum(1)


def lengths(encoding: Encoding, history: History) -> list[np.ndarray]:
    """Fit the length scales for each objective and each limit (see `fit_lengths`)."""
    features = encoding.features(history.points)
    columns = [soften(c) for c in history.losses.T] + [*history.violations.T]
    scaled = [_standard(column)[0] for column in columns]
    return [fit_lengths(features, column, encoding.owner) for column in scaled]


def last_refit(trials: int) -> int:
    """Return the number of trials that were available at the last refit.

    The length scales are fitted only to that many of the earliest trials.
    """
    count = ALWAYS
    while int(np.ceil(count * REFIT)) <= trials:
        count = int(np.ceil(count * REFIT))
    return min(count, trials)


def _standard(column: np.ndarray) -> tuple[np.ndarray, float]:
    """Standardize a column to mean 0 and standard deviation 1.

    Also return the value to which the original 0 is mapped.
    """
    mean, spread = column.mean(), max(column.std(), 1e-12)
    return (column - mean) / spread, -mean / spread
