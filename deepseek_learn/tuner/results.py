"""The trials of a search: the solutions, which of them are feasible, and the front."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..measure.measured import Measured
from ..report import Report
from .engine import optuna
from .errors import TunerError
from .goals import Goals
from .pareto import knee, nondominated_rank, scaled
from .space import Distribution

State = optuna.trial.TrialState


@dataclass(frozen=True)
class Solution:
    """A configuration that was tried, together with its results.

    Attributes:
        number: the trial number.
        config: the hyperparameters by name; use `**solution.config` to build the model.
        results: the objectives, limits and notes by name, each as a `Measured`.

    >>> from deepseek_learn import AutoTuner
    >>> def objective(config):
    ...     return {"error": config["x"] ** 2, "cost": abs(config["x"] - 1)}
    >>> space = {"x": (-1.0, 2.0)}
    >>> tuner = AutoTuner(objective, space, minimize=("error", "cost"), seed=0)
    >>> solution = tuner.run(trials=10, progress=False).knee()
    >>> list(solution.config), list(solution.results)
    (['x'], ['error', 'cost'])
    """

    number: int
    config: dict[str, Any]
    results: dict[str, Measured]


@dataclass(frozen=True)
class SearchResults(Report):
    """The finished trials of a search, and the solutions among them.

    The tables, plots and explanations of a `Study`, which is a subclass, read these.
    See `Study` for the attributes.
    """

    name: str
    goals: Goals
    space: dict[str, Distribution]
    trials: tuple["optuna.trial.FrozenTrial", ...]
    end_reason: str = ""

    @cached_property
    def complete(self) -> tuple[Solution, ...]:
        """All completed trials with finite objectives, in order of trial number."""
        completed = [t for t in self.trials if t.state == State.COMPLETE]
        finite = [t for t in completed if np.isfinite(t.values).all()]
        return tuple(
            Solution(trial.number, dict(trial.params), results_of(trial, self.goals))
            for trial in finite
        )

    @cached_property
    def feasible(self) -> tuple[Solution, ...]:
        """The solutions in `complete` that meet every limit."""
        return tuple(s for s in self.complete if self._meets_limits(s))

    @cached_property
    def front(self) -> tuple[Solution, ...]:
        """The nondominated solutions in `feasible`, sorted by the first objective."""
        if not self.feasible:
            return ()
        losses = self.losses(self.feasible)
        first = np.flatnonzero(nondominated_rank(losses) == 0)
        ordered = sorted(first, key=lambda i: tuple(losses[i]))
        return tuple(self.feasible[i] for i in ordered)

    def losses(self, solutions: tuple[Solution, ...]) -> np.ndarray:
        """Return the objectives of the solutions as a float array of shape `[N, M]`.

        The values of maximized objectives are negated, so smaller values are always
        better.
        """
        names = self.goals.names
        rows = [[s.results[name].value for name in names] for s in solutions]
        return np.array(rows, dtype=float).reshape(-1, len(names)) * self.goals.signs

    def knee(self) -> Solution:
        """Return the best compromise, the solution on the front nearest to the ideal.

        See `pareto.knee` for the definition of the distance.

        Raises:
            TunerError: if the front is empty.
        """
        self._need_front()
        return self.front[knee(self.losses(self.front))]

    def best(self, weights: Mapping[str, float] | None = None) -> Solution:
        """Return the solution on the front that minimizes a weighted sum of objectives.

        The objectives are first scaled so that each ranges from 0 to 1 on the front.

        Args:
            weights: a dictionary with the weight of each objective. Missing objectives
                have weight 0; None means equal weights. A weighted sum never selects a
                solution in a nonconvex part of the front.

        Raises:
            ValueError: if a name is not an objective, if a weight is negative, or if
                all weights are 0.
            TunerError: if the front is empty.
        """
        self._need_front()
        names = self.goals.names
        weights = dict.fromkeys(names, 1.0) if weights is None else weights
        if unknown := sorted(set(weights) - set(names)):
            raise ValueError(
                f"weights must name objectives, {list(names)}; got {unknown}."
            )
        w = np.array([float(weights.get(name, 0)) for name in names])
        if not (np.isfinite(w) & (w >= 0)).all() or not w.any():
            raise ValueError(
                f"weights must not be negative, and at least one must be above 0; got "
                f"{weights!r}."
            )
        losses, _ = scaled(self.losses(self.front))
        span = np.ptp(losses, axis=0)
        shares = (losses - losses.min(0)) / np.where(span > 0, span, 1)
        return self.front[int(np.argmin(shares @ (w / w.max())))]

    def sources(self, name: str) -> tuple[str, ...]:
        """Return the sources of the results called `name`, most frequent first.

        The source of an energy result is "not stated" if it has none.
        """
        results = [s.results[name] for s in self.complete if name in s.results]
        counts = Counter(source(name, number) for number in results)
        return tuple(origin for origin, _ in counts.most_common() if origin)

    def units(self, name: str) -> str:
        """Return the unit shared by all results called `name`, or "" if they differ."""
        units = {s.results[name].unit for s in self.complete if name in s.results}
        return units.pop() if len(units) == 1 else ""

    def _meets_limits(self, solution: Solution) -> bool:
        results = solution.results  # a limit may be missing after ask-and-tell
        limits = self.goals.limits.items()
        return all(name in results and results[name] <= bound for name, bound in limits)

    def _need_front(self) -> None:
        if not self.front:
            raise TunerError(f"study {self.name!r} has no solution: {self.why()}")


def results_of(trial: "optuna.trial.FrozenTrial", goals: Goals) -> dict[str, Measured]:
    """Return the results of a trial.

    These are the numbers that the objective returned, or the ones passed to
    `study.tell`.
    """
    if records := trial.user_attrs.get("results"):
        return {name: Measured(**fields) for name, fields in records.items()}
    if trial.state != State.COMPLETE:
        return {}
    objectives = dict(zip(goals.names, trial.values, strict=True))
    excess = trial.constraints
    limits = {n: bound + excess[n] for n, bound in goals.limits.items() if n in excess}
    return {name: Measured(value) for name, value in (limits | objectives).items()}


def source(name: str, number: Measured) -> str:
    """Return the source of a result, or "not stated" for energy with no source."""
    if not number.source and name.startswith("energy"):
        return "not stated"
    return number.source


def short(value: Any) -> str:
    """Return a hyperparameter's value as text, with four digits if it is a float."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
