"""Derive a separate random stream for each worker from a single seed."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .counts import whole_number
from .engine import optuna

Distributions = dict[str, optuna.distributions.BaseDistribution]
FrozenTrial = optuna.trial.FrozenTrial
OptunaStudy = optuna.Study


class SeededByPlace(optuna.samplers.BaseSampler):
    """A sampler that is created on its first trial and seeded by that trial's number.

    Trial numbers are unique across all workers of a study. The worker that runs trial 0
    uses `seed` itself, so it is reproducible. Any other worker (an additional one, or a
    resumed search) uses a seed derived from `seed` and the number n > 0 of its first
    trial.
    """

    def __init__(self, make: Callable[[int], optuna.samplers.BaseSampler], seed: int):
        self._make, self._seed = make, whole_number("seed", seed, 0)
        self.own: optuna.samplers.BaseSampler | None = None

    def before_trial(self, study: OptunaStudy, trial: FrozenTrial) -> None:
        if self.own is None:
            self.own = self._make(seed_at(self._seed, trial.number))
        self.own.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: OptunaStudy, trial: FrozenTrial
    ) -> Distributions:
        return self._started.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: OptunaStudy, trial: FrozenTrial, search_space: Distributions
    ) -> dict[str, Any]:
        return self._started.sample_relative(study, trial, search_space)

    def sample_independent(
        self,
        study: OptunaStudy,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: optuna.distributions.BaseDistribution,
    ) -> Any:
        arguments = study, trial, param_name, param_distribution
        return self._started.sample_independent(*arguments)

    def after_trial(
        self,
        study: OptunaStudy,
        trial: FrozenTrial,
        state: optuna.trial.TrialState,
        values: Sequence[float] | None,
    ) -> None:
        # still None if this worker fails a dead worker's trial before its own first one
        if self.own is not None:
            self.own.after_trial(study, trial, state, values)

    @property
    def _started(self) -> optuna.samplers.BaseSampler:
        assert self.own is not None  # Optuna calls `before_trial` first
        return self.own

    def reseed_rng(self) -> None:
        if self.own is not None:
            self.own.reseed_rng()


def seed_at(seed: int, number: int) -> int:
    """Return the seed for a worker whose first trial has the given number."""
    if not number:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
