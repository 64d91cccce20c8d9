"""The trial passed to an objective: its configuration and its reports."""

import operator
from collections.abc import Iterator, Mapping
from typing import Any

from ..measure.measured import Measured
from .engine import optuna
from .errors import ObjectiveError
from .goals import RESERVED, Goals, not_finite
from .space import read_entry, suggest


class Trial(Mapping):
    """A configuration to try, as a read-only mapping: `trial["lr"]`, `**trial`.

    Attributes:
        number: the trial number, starting at 0 and unique across all workers.

    >>> from deepseek_learn import AutoTuner
    >>> def objective(trial):
    ...     return {"error": trial["x"] ** 2, "keys": len([*trial])}
    >>> space = {"x": (0.0, 1.0)}
    >>> tuner = AutoTuner(objective, space, minimize=("error", "keys"), seed=0)
    >>> len(tuner.run(trials=3, progress=False).trials)
    3
    """

    def __init__(
        self, running: "optuna.Trial", config: dict[str, Any], goals: Goals, pruner: Any
    ):
        self.number: int = running.number
        self._optuna_trial, self._config = running, config
        self._space, self._goals, self._pruner = tuple(config), goals, pruner

    def __getitem__(self, name: str) -> Any:
        return self._config[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._config)

    def __len__(self) -> int:
        return len(self._config)

    def __repr__(self) -> str:
        return f"Trial({self.number}, {self._config})"

    def report(self, epoch: int, **values: float | Measured) -> None:
        """Report the objectives after an epoch and stop an unpromising trial.

        Args:
            epoch: the epoch number, starting at 1.
            values: the current value of every objective, as keyword arguments. Include
                objectives that do not change between epochs, such as latency. The trial
                fails if a value is NaN or infinite.

        Raises:
            optuna.TrialPruned: if the tuner's pruner stops the trial. Do not catch it.
            ObjectiveError: if an objective is missing or unknown.
        """
        epoch = operator.index(epoch)  # NumPy integers cannot be converted to JSON
        if set(values) != set(self._goals.names):
            raise ObjectiveError(
                f"report must name every objective, {sorted(self._goals.names)}; got "
                f"{sorted(values)}."
            )
        numbers = {n: Measured(float(values[n])) for n in self._goals.names}
        if bad := not_finite(self._goals, numbers):
            raise NotFinite(bad, epoch)
        if self._is_hopeless(epoch, [number.value for number in numbers.values()]):
            self._optuna_trial.set_user_attr("pruned_at", epoch)
            raise optuna.TrialPruned(f"pruned at epoch {epoch}")

    def suggest(self, name: str, entry: Any) -> Any:
        """Sample a hyperparameter that only some configurations have.

        The value is added to the configuration of the trial. For example:

        `if trial["optimizer"] == "sgd": trial.suggest("momentum", (0.5, 0.99))`

        Args:
            name: the name of the hyperparameter, which must not already be in use.
            entry: the range or choices, in the same form as in the space of
                `AutoTuner`. They must be the same in every trial.

        Raises:
            ValueError: if the name is already in use, or if the entry is invalid.
        """
        distribution = read_entry(name, entry)
        if name in {*self._space, *self._goals.names, *self._goals.limits, *RESERVED}:
            raise ValueError(f"name must not be in use already; got {name!r}.")
        self._config[name] = suggest(self._optuna_trial, name, distribution)
        return self._config[name]

    def _is_hopeless(self, epoch: int, values: list[float]) -> bool:
        if len(values) == 1:  # Optuna's own pruners support only one objective
            self._optuna_trial.report(values[0], epoch)
        if isinstance(self._pruner, optuna.pruners.BasePruner):
            return self._optuna_trial.should_prune()
        return bool(
            self._pruner and self._pruner.report(self._optuna_trial, epoch, values)
        )


class NotFinite(Exception):
    """Raised when an objective or a limit is NaN or infinite."""

    def __init__(self, values: dict[str, float], epoch: int | None = None):
        message = ", ".join(f"{name} is {value}" for name, value in values.items())
        super().__init__(message if epoch is None else f"{message} at epoch {epoch}")
