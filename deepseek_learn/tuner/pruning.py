"""Stop trials early with several objectives: skeleton, signatures are final."""

from collections.abc import Mapping, Sequence


class DominationPruner:
    """Stops a trial that too many others dominate at the same epoch.

    Args:
        rungs: epochs at which trials are compared; at others a report is only kept.
        keep: share of the trials at a rung that may go on.
        startup: a rung stops nobody before it has this many reports.
    """

    def __init__(
        self, rungs: Sequence[int] = (1, 3), keep: float = 0.5, startup: int = 8
    ):
        self.rungs, self.keep, self.startup = tuple(rungs), keep, startup

    def report(self, trial, step: int, values: Sequence[float] | Mapping) -> bool:
        """Keep the objectives' values at `step`; True when the trial should stop.

        Stopping is the caller's: `raise optuna.TrialPruned()` or
        `study.tell(trial, state=TrialState.PRUNED)`.
        """
        raise NotImplementedError
