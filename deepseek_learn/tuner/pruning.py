"""Early stopping with several objectives: successive halving by domination count.

At certain epochs, the rungs, a trial's values are compared with those that all trials
reported there: its score is the number of trials that dominate it, and only the best
fraction continues. No trial waits for another: each is compared with the reports so far
(asynchronous successive halving; with several objectives: Schmucker et al. 2021,
"Multi-objective asynchronous successive halving", arXiv 2106.12639).

Optuna's own `report` and `should_prune` accept only one objective (Optuna issue 3450),
so the reports are kept in the trials' attributes, which every storage shares between
workers.
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
    """Stop a trial that too many others dominate at the same epoch.

    Args:
        rungs: epochs at which trials are compared; at other epochs, a report is only
            stored.
        keep: fraction of the trials at a rung that may continue.
        startup: a rung stops no trial before it has this many reports.

    Finished trials that exceed a limit are left out of the comparison. Whether the
    running trial will meet its limits is unknown at a rung.

    Raises:
        ValueError: if `rungs` are not increasing whole numbers above 0, or if `keep` is
            not above 0 and at most 1.
    """

    def __init__(
        self, rungs: Sequence[int] = (1, 3), keep: float = 0.5, startup: int = 8
    ):
        rungs = tuple(whole_number("each of rungs", rung, 1) for rung in rungs)
        if not rungs or list(rungs) != sorted(set(rungs)):
            raise ValueError(
                f"rungs must be increasing whole numbers above 0; got {rungs!r}."
            )
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1; got {keep!r}.")
        self.rungs, self.keep = rungs, keep
        self.startup = whole_number("startup", startup, 1)

    def report(self, trial: "optuna.Trial", step: int, values: Sequence[float]) -> bool:
        """Store the objectives' values at `step`; return True if the trial should stop.

        Stopping it is up to the caller: `raise optuna.TrialPruned()`, or
        `study.tell(trial, state=TrialState.PRUNED)`.

        Args:
            trial: the running trial.
            step: the epoch, from 1.
            values: one per objective, in the study's order, with their original signs.

        Raises:
            ValueError: if the number of values is wrong, or if one is not finite.
        """
        directions = trial.study.directions
        own_values = [float(value) for value in values]
        if len(own_values) != len(directions) or not np.isfinite(own_values).all():
            raise ValueError(
                f"values must be {len(directions)} finite numbers, one per objective; "
                f"got {list(values)!r}."
            )
        step = operator.index(step)
        previous_reports = trial.user_attrs.get(REPORTS, ())
        trial.set_user_attr(REPORTS, [*previous_reports, [step, own_values]])
        if step not in self.rungs:
            return False
        rivals = [
            other_values
            for other in trial.study.get_trials(deepcopy=False)
            if other.number != trial.number
            and not any(excess > 0 for excess in other.constraints.values())
            and (other_values := values_at(other, step)) is not None
        ]
        signs = [1 if d.name == "MINIMIZE" else -1 for d in directions]
        return self.hopeless(np.multiply([own_values, *rivals], signs))

    def hopeless(self, values: np.ndarray) -> bool:
        """Return whether the first of these trials is not worth continuing.

        `values` are `[N, M]`, one row per trial, to be minimized. The first trial
        should stop if its domination count is above the `keep` quantile of all counts.
        """
        if len(values) < self.startup:
            return False
        counts = domination_count(values)
        return bool(counts[0] > np.quantile(counts, self.keep))


def reports(trial: Any) -> list[tuple[int, list[float]]]:
    """Return a trial's reports by epoch, or those it made to Optuna (one objective)."""
    if records := trial.user_attrs.get(REPORTS):
        return records
    return [
        (step, [value]) for step, value in sorted(trial.intermediate_values.items())
    ]


def values_at(trial: Any, step: int) -> list[float] | None:
    """Return the values that a trial reported at an epoch; None if it reported none."""
    for epoch, values in trial.user_attrs.get(REPORTS, ()):
        if epoch == step:
            return values
    return None


def expected_values(trials: Sequence[Any]) -> list[list[float] | None]:
    """Return the results of finished trials, and the expected results of pruned ones.

    For a pruned trial, the expected result is its last report, at epoch e, plus a
    correction per objective: the median difference between the final results of the
    trials that continued and their own reports at e. The correction is needed because
    the error after one epoch differs from the error after all of them.

    Returns:
        The values of each trial; None for a trial without any.
    """
    completed = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    differences: dict[int, list[np.ndarray]] = {}
    for trial in completed:
        for step, values in reports(trial):
            change = _quarter(trial.values) - _quarter(values)
            differences.setdefault(step, []).append(change)
    drift = {step: np.median(changes, axis=0) for step, changes in differences.items()}
    expected = []
    for trial in trials:
        records = reports(trial)
        if trial.state == optuna.trial.TrialState.COMPLETE:
            expected.append(trial.values)
        elif trial.state == optuna.trial.TrialState.PRUNED and records:
            step, values = records[-1]
            estimate = _quarter(values) + drift.get(step, 0.0)
            expected.append(list(4 * np.clip(estimate, -LARGEST / 4, LARGEST / 4)))
        else:
            expected.append(None)
    return expected


def _quarter(values: Sequence[float]) -> np.ndarray:
    """Return exact quarters: the sum of two differences (in a median) stays finite."""
    return np.multiply(values, 0.25)
