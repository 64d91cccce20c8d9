"""Derive a separate random stream for each worker from a single seed."""

import numpy as np

from .counts import whole_number
from .sampler import FrozenTrial, GeneticSampler, OptunaStudy


class SeededByPlace(GeneticSampler):
    """A `GeneticSampler` whose seed depends on the number of its first trial.

    Trial numbers are unique across all workers of a study. The worker that runs trial 0
    uses `seed` itself, so it is reproducible. Any other worker (an additional one, or a
    resumed search) uses a seed derived from `seed` and the number n > 0 of its first
    trial.
    """

    _placed = False  # whether the first trial has begun

    def __init__(self, seed: int):
        super().__init__(seed=whole_number("seed", seed, 0))

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        if not self._placed:
            self._seed, self._placed = seed_at(self._seed, trial.number), True

    def reseed_rng(self) -> None:
        if self._placed:  # Optuna reseeds before each thread of a run
            super().reseed_rng()


def seed_at(seed: int, number: int) -> int:
    """Return the seed for a worker whose first trial has the given number."""
    if not number:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
