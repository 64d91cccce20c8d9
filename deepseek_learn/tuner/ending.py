"""When a run of the tuner is over: after so many seconds, when nothing is left or gained.

Optuna stops by itself after a number of trials, and whenever a callback says
`study.stop()`. `Ending` is the tuner's callback: it also notes why the run ended, since
an exception in one of Optuna's threads may reach nobody.
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
HOPELESS = 3  # that many first trials that crash at the same line end a search


class Ending:
    """Optuna's callback after each trial of one run.

    Attributes:
        begun, finished: the numbers of this run's trials.
        reason: "exhausted" or "stalled" when that ended the run, else "".
        error: what the run should raise; None when all is well.
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
        self.reason, self.error = "", None
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
        """Whether no further trial should begin; lost ones are rescued before."""
        rescue(study)
        if exhausted(study, self._space):
            self.reason = "exhausted"
        elif self._patience and stalled(study, self.finished, self._patience):
            self.reason = "stalled"
        return bool(self.reason) or time.monotonic() >= self._until

    def lost_one(self, study: "optuna.Study") -> bool:
        """Whether another worker took one of our trials for dead, and failed it."""
        every = study.get_trials(deepcopy=False)
        lost = set(self.begun) - set(self.finished)
        return any(every[number].state == State.FAIL for number in lost)


def exhausted(study: "optuna.Study", space: dict[str, Distribution]) -> bool:
    """Whether every configuration of a finite space was tried.

    Hyperparameters that an objective draws itself (`Trial.suggest`) make it unknown.
    """
    size, trials = configurations(space), study.get_trials(deepcopy=False)
    if len(trials) < size or any(t.state == State.WAITING for t in trials):
        return False
    told = [trial.params for trial in trials if tells(trial)]
    if any(set(params) - set(space) for params in told):
        return False
    whole = [params for params in told if set(params) == set(space)]
    return len({tuple(params[n] for n in space) for params in whole}) >= size


def stalled(study: "optuna.Study", finished: list[int], patience: int) -> bool:
    """Whether this run has finished `patience` trials since the front last changed."""
    if len(finished) < patience:
        return False
    so_far = Study.of(study)
    rows = zip(so_far.front, map(tuple, so_far.losses(so_far.front)), strict=True)
    seen, newest = set(), -1
    for solution, row in sorted(rows, key=lambda pair: pair[0].number):
        newest = newest if row in seen else solution.number  # a copy is no gain
        seen.add(row)
    return sum(number > newest for number in finished) >= patience


def stop_if_hopeless(study: "optuna.Study", finished: list[int]) -> None:
    """A search that cannot give results ends with a sentence, not after hours.

    Raises:
        ObjectiveError: when the last of the first results was no result.
        TunerError: when the first three trials crashed at the same line.
    """
    every = study.get_trials(deepcopy=False)
    if len(finished) > HOPELESS or any(t.state == State.COMPLETE for t in every):
        return
    notes = [every[number].user_attrs.get("failure", {}) for number in finished]
    if notes[-1].get("kind") == "wrong result":
        raise ObjectiveError(notes[-1]["reason"])
    places = {note.get("where") for note in notes}
    if len(notes) == HOPELESS and len(places) == 1 and None not in places:
        raise TunerError(
            f"the first {HOPELESS} trials all crashed at {places.pop()}: "
            f"{notes[-1]['reason']}"
        )
