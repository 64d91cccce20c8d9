"""Stopping criteria for a run: a time limit, an exhausted space or a stalled front.

Optuna itself stops after a given number of trials, or when a callback calls
`study.stop()`. `Ending` is the tuner's callback. It also records why the run ended,
because an exception in one of Optuna's threads may not propagate.
"""

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

from .engine import optuna
from .errors import ObjectiveError, TunerError
from .space import Distribution, configurations
from .study import Study
from .workers import rescue, tells

State = optuna.trial.TrialState
HOPELESS = 3  # a search ends if its first 3 trials crash at the same line


class Ending:
    """A callback that Optuna calls after each trial of a run.

    Attributes:
        begun, finished: the numbers of the trials that this run has started and
            finished.
        reason: "exhausted" or "stalled" if the run ended for that reason; otherwise "".
        error: the exception that the run should raise, or None.
    """

    def __init__(
        self,
        space: dict[str, Distribution],
        seconds: float | None,
        patience: int | None,
        callbacks: Iterable[Callable[["optuna.Study", Any], None]],
    ):
        self.begun: list[int] = []
        self.finished: list[int] = []
        self.reason = ""
        self.error: Exception | None = None
        self._space, self._patience = space, patience
        self._callbacks = tuple(callbacks)
        self._until = math.inf if seconds is None else time.monotonic() + seconds

    def __call__(self, study: "optuna.Study", trial: Any) -> None:
        self.finished.append(trial.number)
        try:
            stop_if_hopeless(study, self.finished)
            for callback in self._callbacks:
                callback(study, trial)
            over = self.is_over(study)
        except Exception as error:
            self.error, over = error, True
        if over:
            study.stop()

    def is_over(self, study: "optuna.Study") -> bool:
        """Rescue lost trials, then return whether the run is over."""
        rescue(study)
        if exhausted(study, self._space):
            self.reason = "exhausted"
        elif self._patience and stalled(study, self.finished, self._patience):
            self.reason = "stalled"
        return bool(self.reason) or time.monotonic() >= self._until

    def lost_one(self, study: "optuna.Study") -> bool:
        """Return whether another worker marked a trial from this run as failed."""
        trials = study.get_trials(deepcopy=False)
        lost = set(self.begun) - set(self.finished)
        return any(trials[number].state == State.FAIL for number in lost)


def exhausted(study: "optuna.Study", space: dict[str, Distribution]) -> bool:
    """Return whether every configuration in a finite space has been tried.

    The result is False if the objective samples additional hyperparameters
    (`Trial.suggest`), because their number is unknown.
    """
    size, trials = configurations(space), study.get_trials(deepcopy=False)
    if len(trials) < size or any(t.state == State.WAITING for t in trials):
        return False
    configs = [trial.params for trial in trials if tells(trial)]
    if any(set(params) - set(space) for params in configs):
        return False
    full_configs = [params for params in configs if set(params) == set(space)]
    return len({tuple(params[n] for n in space) for params in full_configs}) >= size


def stalled(study: "optuna.Study", finished: list[int], patience: int) -> bool:
    """Return whether `patience` trials have finished since the front last changed.

    Only the trials in this run are counted.
    """
    if len(finished) < patience:
        return False
    snapshot = Study.of(study)
    rows = zip(snapshot.front, map(tuple, snapshot.losses(snapshot.front)), strict=True)
    seen, newest = set(), -1
    for solution, row in sorted(rows, key=lambda pair: pair[0].number):
        newest = newest if row in seen else solution.number  # ignore duplicates
        seen.add(row)
    return sum(number > newest for number in finished) >= patience


def stop_if_hopeless(study: "optuna.Study", finished: list[int]) -> None:
    """Raise an error early if the search cannot produce any results.

    Raises:
        ObjectiveError: if the most recent of the first results is invalid.
        TunerError: if the first three trials crashed at the same line.
    """
    trials = study.get_trials(deepcopy=False)
    if len(finished) > HOPELESS or any(t.state == State.COMPLETE for t in trials):
        return
    notes = [trials[number].user_attrs.get("failure", {}) for number in finished]
    if notes[-1].get("kind") == "wrong result":
        raise ObjectiveError(notes[-1]["reason"])
    locations = {note.get("where") for note in notes}
    if len(notes) == HOPELESS and len(locations) == 1 and None not in locations:
        raise TunerError(
            f"the first {HOPELESS} trials all crashed at {locations.pop()}: "
            f"{notes[-1]['reason']}"
        )
