"""What an objective sees of a trial: its configuration, and a way to report epochs."""

import operator
from collections.abc import Iterator, Mapping
from typing import Any

from .engine import optuna
from .errors import ObjectiveError
from .goals import Goals, not_finite
from .measuring import Measured


class Trial(Mapping):
    """One configuration to be tried, read-only: `trial["lr"]`, `**trial`.

    Attributes:
        number: counted from 0, unique in the study whoever works on it.
    """

    def __init__(self, running: Any, config: dict[str, Any], goals: Goals, pruner: Any):
        self.number: int = running.number
        self._running, self._config = running, config
        self._goals, self._pruner = goals, pruner

    def __getitem__(self, name: str) -> Any:
        return self._config[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)

    def __repr__(self) -> str:
        return f"Trial({self.number}, {self._config})"

    def report(self, epoch: int, **values: float | Measured) -> None:
        """Say how the trial stands after an epoch; a hopeless one ends here.

        Args:
            epoch: counted from 1.
            values: every objective, by name, as it is now. What does not change over
                epochs, such as the latency, is reported too. NaN fails the trial.

        Raises:
            optuna.TrialPruned: when the tuner's pruner says stop: let it pass.
            ObjectiveError: when an objective is missing, or unknown.
        """
        epoch = operator.index(epoch)  # numpy's whole numbers too, which JSON refuses
        if set(values) != set(self._goals.names):
            raise ObjectiveError(
                f"report must name every objective, {sorted(self._goals.names)}; got "
                f"{sorted(values)}."
            )
        numbers = {n: Measured(float(values[n])) for n in self._goals.names}
        if bad := not_finite(self._goals, numbers):
            raise NotFinite(bad, epoch)
        if self._pruner is None:
            return
        told = [number.value for number in numbers.values()]
        if self._pruner.report(self._running, epoch, told):
            self._running.set_user_attr("pruned_at", epoch)
            raise optuna.TrialPruned(f"pruned at epoch {epoch}")


class NotFinite(Exception):
    """Numbers that no search can compare: NaN or infinite."""

    def __init__(self, values: dict[str, float], epoch: int | None = None):
        said = ", ".join(f"{name} is {value}" for name, value in values.items())
        super().__init__(said if epoch is None else f"{said} at epoch {epoch}")
