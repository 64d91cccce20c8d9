"""Stop a trial early, with several objectives: successive halving by domination count.

At certain epochs, the rungs, a trial's values are compared with those that all trials
reported there: the count of those that dominate it is its score, and only the better
share goes on. Nobody waits for anybody: a trial is compared with what is there
(asynchronous successive halving; with several objectives: Schmucker et al. 2021,
Multi-objective asynchronous successive halving, arXiv 2106.12639).

Optuna's own `report` and `should_prune` take one objective only (its issue 3450), so the
reports are kept in the trials' attributes, which every storage carries between workers.
"""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from .counts import whole_number
from .engine import optuna
from .pareto import domination_count

LARGEST = np.finfo(float).max
REPORTS = "reports"  # user attribute: [[epoch, [values]], ...]


class DominationPruner:
    """Stops a trial that too many others dominate at the same epoch.

    Args:
        rungs: epochs at which trials are compared; at others a report is only kept.
        keep: share of the trials at a rung that may go on.
        startup: a rung stops nobody before it has this many reports.

    Finished trials that broke a limit are not compared with. Whether the running one will
    keep its limits is not known at a rung.

    Raises:
        ValueError: for rungs that do not rise from at least 1, or `keep` outside 0..1.
    """

    def __init__(
        self, rungs: Sequence[int] = (1, 3), keep: float = 0.5, startup: int = 8
    ):
        rungs = tuple(whole_number("each of rungs", rung, 1) for rung in rungs)
        if not rungs or list(rungs) != sorted(set(rungs)):
            raise ValueError(
                f"rungs must be rising whole numbers from 1 on; got {rungs!r}."
            )
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1; got {keep!r}.")
        self.rungs, self.keep = rungs, keep
        self.startup = whole_number("startup", startup, 1)

    def report(self, trial: "optuna.Trial", step: int, values: Sequence[float]) -> bool:
        """Keep the objectives' values at `step`; True when the trial should stop.

        Stopping is the caller's: `raise optuna.TrialPruned()`, or
        `study.tell(trial, state=TrialState.PRUNED)`.

        Args:
            trial: the running trial.
            step: the epoch, from 1.
            values: one an objective, in the study's order and as they are.

        Raises:
            ValueError: for another number of values, or one that is not finite.
        """
        directions = trial.study.directions
        mine = [float(value) for value in values]
        if len(mine) != len(directions) or not np.isfinite(mine).all():
            raise ValueError(
                f"values must be {len(directions)} finite numbers, one an objective; "
                f"got {list(values)!r}."
            )
        step = operator.index(step)
        kept = trial.user_attrs.get(REPORTS, ())
        trial.set_user_attr(REPORTS, [*kept, [step, mine]])
        if step not in self.rungs:
            return False
        others = [
            found
            for other in trial.study.get_trials(deepcopy=False)
            if other.number != trial.number
            and not any(excess > 0 for excess in other.constraints.values())
            and (found := values_at(other, step)) is not None
        ]
        signs = [1 if d.name == "MINIMIZE" else -1 for d in directions]
        return self.hopeless(np.multiply([mine, *others], signs))

    def hopeless(self, values: np.ndarray) -> bool:
        """Whether the first of these trials `[N, M]`, minimized, is not worth going on.

        It stops when its domination count is above the `keep` quantile of all counts.
        """
        if len(values) < self.startup:
            return False
        counts = domination_count(values)
        return bool(counts[0] > np.quantile(counts, self.keep))


def reports(trial: Any) -> list[tuple[int, list[float]]]:
    """What a trial reported, epoch by epoch; to Optuna itself, with one objective."""
    if kept := trial.user_attrs.get(REPORTS):
        return kept
    return [
        (step, [value]) for step, value in sorted(trial.intermediate_values.items())
    ]


def values_at(trial: Any, step: int) -> list[float] | None:
    """What a trial reported at an epoch; None when it did not come so far."""
    for epoch, values in trial.user_attrs.get(REPORTS, ()):
        if epoch == step:
            return values
    return None


def expected_values(trials: Sequence[Any]) -> list[list[float] | None]:
    """What finished trials gave; of pruned ones what they were likely to give.

    A pruned trial's last report at epoch e, moved by what lay between the reports at e
    and the results of those that went on (the median, objective by objective): an error
    after one epoch is not the error after all.

    Returns:
        The values of each trial, None for one that has none.
    """
    done = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    moved: dict[int, np.ndarray] = {}
    for trial in done:
        for step, values in reports(trial):
            moved.setdefault(step, []).append(_quarter(trial.values) - _quarter(values))
    drift = {step: np.median(changes, axis=0) for step, changes in moved.items()}
    expected = []
    for trial in trials:
        told = reports(trial)
        if trial.state == optuna.trial.TrialState.COMPLETE:
            expected.append(trial.values)
        elif trial.state == optuna.trial.TrialState.PRUNED and told:
            step, values = told[-1]
            moved_on = _quarter(values) + drift.get(step, 0.0)
            expected.append(list(4 * np.clip(moved_on, -LARGEST / 4, LARGEST / 4)))
        else:
            expected.append(None)
    return expected


def _quarter(values: Sequence[float]) -> np.ndarray:
    """Exact; a sum of two differences, as in a median, is then finite."""
    return np.multiply(values, 0.25)
