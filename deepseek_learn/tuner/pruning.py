"""Early stopping for several objectives: successive halving by domination count.

Trials are compared at certain epochs, which are called rungs. At a rung, the score of a
trial is the number of trials that dominate it at that epoch, and only the best fraction
continues. Trials never wait for one another; each is compared with the reports
available so far. This is asynchronous successive halving (for several objectives, see
Schmucker et al. 2021, "Multi-objective asynchronous successive halving", arXiv
2106.12639).

Optuna's own `report` and `should_prune` support only one objective (Optuna issue 3450).
The reports are therefore stored as user attributes of the trials, which every storage
shares between workers.
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
    """Stop a trial if too many other trials dominate it at the same epoch.

    In our measurements (`benchmarks/tuner_pruning.py`), this saved about a third of the
    epochs of a random search, less with TPE, and none with `GeneticSampler`, which
    proposes few trials that are worth stopping. So it is off by default.

    Args:
        rungs: the epochs at which trials are compared. At all other epochs, a report is
            only stored.
        keep: the fraction of the trials at a rung that may continue.
        startup: the number of reports needed at a rung before any trial is stopped.

    Finished trials that exceed a limit are excluded from the comparison. The running
    trial is always compared, because it is not yet known whether it will meet its
    limits.

    Raises:
        ValueError: if `rungs` is not an increasing sequence of positive integers, or if
            `keep` is not in the interval (0, 1].

    >>> from deepseek_learn import AutoTuner, tuner
    >>> def objective(trial):
    ...     for epoch in range(1, 6):
    ...         error = trial["x"] ** 2 + 1 / epoch
    ...         trial.report(epoch, error=error)
    ...     return {"error": error}
    >>> pruner = tuner.DominationPruner(startup=4)
    >>> search = AutoTuner(
    ...     objective, {"x": (-1.0, 1.0)}, minimize=("error",), pruner=pruner, seed=0
    ... )
    >>> study = search.run(trials=20, progress=False)
    >>> sum(trial.state.name == "PRUNED" for trial in study.trials) > 0
    True
    """

    def __init__(
        self, rungs: Sequence[int] = (1, 3), keep: float = 0.5, startup: int = 8
    ):
        rungs = tuple(whole_number("each entry of rungs", rung, 1) for rung in rungs)
        if not rungs or list(rungs) != sorted(set(rungs)):
            raise ValueError(
                f"rungs must be increasing positive integers; got {rungs!r}."
            )
        if not 0 < keep <= 1:
            raise ValueError(f"keep must be above 0 and at most 1; got {keep!r}.")
        self.rungs, self.keep = rungs, keep
        self.startup = whole_number("startup", startup, 1)

    def report(self, trial: "optuna.Trial", step: int, values: Sequence[float]) -> bool:
        """Store the objective values at `step` and return whether to stop the trial.

        The caller is responsible for stopping the trial, either with
        `raise optuna.TrialPruned()` or with
        `study.tell(trial, state=TrialState.PRUNED)`.

        Args:
            trial: the running trial.
            step: the epoch number, starting at 1.
            values: one value per objective, in the study's order and with the original
                signs.

        Raises:
            ValueError: if the number of values is wrong, or if a value is not finite.
        """
        directions = trial.study.directions
        own_values = [float(value) for value in values]
        if len(own_values) != len(directions) or not np.isfinite(own_values).all():
            raise ValueError(
                f"values must be {len(directions)} finite numbers, one per objective; "
                f"got {own_values!r}."
            )
        step = operator.index(step)
        previous_reports = trial.user_attrs.get(REPORTS, ())
        trial.set_user_attr(REPORTS, [*previous_reports, [step, own_values]])
        if step not in self.rungs:
            return False
        # Compare with what the others had reached at the same epoch, not with their final
        # results. A trial over a limit cannot be the reason to stop one.
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
        """Return whether the first of the given trials should be stopped.

        The first trial should stop if its domination count exceeds the `keep` quantile
        of all counts. `values` is a float array of shape `[N, M]` with one row per
        trial, and all objectives are minimized.
        """
        if len(values) < self.startup:
            return False
        counts = domination_count(values)
        return bool(counts[0] > np.quantile(counts, self.keep))


def reports(trial: Any) -> list[tuple[int, list[float]]]:
    """Return a trial's reports as a list of `(epoch, values)` pairs.

    If there are none, return the values that were reported to Optuna directly, which is
    possible with a single objective.
    """
    if records := trial.user_attrs.get(REPORTS):
        return records
    return [
        (step, [value]) for step, value in sorted(trial.intermediate_values.items())
    ]


def values_at(trial: Any, step: int) -> list[float] | None:
    """Return the values a trial reported at an epoch, or None if there are none."""
    for epoch, values in trial.user_attrs.get(REPORTS, ()):
        if epoch == step:
            return values
    return None


def expected_values(trials: Sequence[Any]) -> list[list[float] | None]:
    """Return the results of all trials, using estimates for the pruned ones.

    The estimate for a pruned trial is its last report, at epoch e, plus a correction
    for each objective. The correction is the median difference between the final
    results of the completed trials and their own reports at epoch e. It is needed
    because the error after one epoch differs from the error after all of them.

    Returns:
        One list of values per trial, or None if the trial has no values.
    """
    completed = [t for t in trials if t.state == optuna.trial.TrialState.COMPLETE]
    # 1. How much the completed trials still improved after each epoch.
    differences: dict[int, list[np.ndarray]] = {}
    for trial in completed:
        for step, values in reports(trial):
            change = _quarter(trial.values) - _quarter(values)
            differences.setdefault(step, []).append(change)
    # 2. The median, because a few of them diverge.
    drift = {step: np.median(changes, axis=0) for step, changes in differences.items()}
    # 3. Move the last report of each pruned trial by the drift from its epoch on.
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
    """Divide the values by 4 so that their sums and differences cannot overflow."""
    return np.multiply(values, 0.25)
