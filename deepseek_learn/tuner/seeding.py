"""One seed for several workers, each with a random stream of its own."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .counts import whole_number
from .engine import optuna


class SeededByPlace(optuna.samplers.BaseSampler):
    """A sampler that is created at its first trial, with a seed for that trial's number.

    Trial numbers are unique in a study across all workers. The worker with trial 0 uses
    `seed` itself and is reproducible; a worker whose first trial is number n > 0 (a
    second worker, or a resumed search) uses a seed derived from `seed` and n.
    """

    def __init__(self, make: Callable[[int], Any], seed: int):
        self._make, self._seed = make, whole_number("seed", seed, 0)
        self.own: optuna.samplers.BaseSampler | None = None

    def before_trial(self, study, trial) -> None:
        if self.own is None:
            self.own = self._make(seed_at(self._seed, trial.number))
        self.own.before_trial(study, trial)

    def infer_relative_search_space(self, study, trial) -> dict:
        return self.own.infer_relative_search_space(study, trial)

    def sample_relative(self, study, trial, search_space) -> dict[str, Any]:
        return self.own.sample_relative(study, trial, search_space)

    def sample_independent(self, study, trial, param_name, param_distribution) -> Any:
        arguments = study, trial, param_name, param_distribution
        return self.own.sample_independent(*arguments)

    def after_trial(self, study, trial, state, values) -> None:
        if (
            self.own is not None
        ):  # None: it failed a dead worker's trial before its first own
            self.own.after_trial(study, trial, state, values)

    def reseed_rng(self) -> None:
        if self.own is not None:
            self.own.reseed_rng()


def seed_at(seed: int, number: int) -> int:
    """The seed of a worker whose first trial is `number`."""
    if not number:
        return seed
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
