"""The result of a search: its front, trade-offs and importances."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from ..measure.measured import Measured
from ..report import Report
from . import explaining, plots, tables, volume
from .engine import optuna, quiet
from .errors import TunerError
from .export import write_config
from .goals import Goals
from .importance import importances, steadiness
from .pareto import knee, nondominated_rank, scaled
from .space import Distribution
from .storage import Storage, answering, open_storage

if TYPE_CHECKING:
    import plotly.graph_objects as go

State = optuna.trial.TrialState
SHOWN = 20  # rows displayed in a notebook


@dataclass(frozen=True)
class Solution:
    """A configuration and its results.

    Attributes:
        number: the number of its trial.
        config: hyperparameter → value; `**solution.config` builds the model.
        results: objective, limit or note → `Measured`.
    """

    number: int
    config: dict[str, Any]
    results: dict[str, Measured]


@dataclass(frozen=True)
class Study(Report):
    """The finished trials of a search.

    Attributes:
        name: the study's name in its storage.
        goals: its objectives and limits.
        space: hyperparameter → Optuna distribution.
        trials: Optuna's records of the finished trials, by number.
        end_reason: why the search ended early: "interrupted" (by Ctrl-C), "exhausted"
            (every configuration was tried) or "stalled" (see `patience`); "" if it did
            not.
    """

    name: str
    goals: Goals
    space: dict[str, Distribution]
    trials: tuple["optuna.trial.FrozenTrial", ...]
    end_reason: str = ""

    @classmethod
    def of(cls, study: "optuna.Study", end_reason: str = "") -> "Study":
        """Return the finished trials of an Optuna study that AutoTuner created."""
        attributes = study.user_attrs
        read = optuna.distributions.json_to_distribution
        entries = attributes["space"].items()
        space = {name: cast(Distribution, read(entry)) for name, entry in entries}
        trials = study.get_trials(deepcopy=False, states=tuple(tables.STATES))
        goals = Goals.of(attributes["goals"])
        return cls(study.study_name, goals, space, tuple(trials), end_reason)

    @classmethod
    def load(cls, storage: Storage, name: str = "study") -> "Study":
        """Load a study from its storage (see `AutoTuner`), even while workers run.

        Raises:
            TunerError: if the storage has no study of that name; the message lists the
                studies it does have.
            StorageError: if the storage cannot be opened.
        """
        is_url = "://" in str(storage)
        if isinstance(storage, str | Path) and not (is_url or Path(storage).exists()):
            raise TunerError(f"storage must exist; there is no file {storage}.")
        backend = open_storage(storage, write=False)
        with quiet(), answering("the storage"):
            study_names = optuna.get_all_study_names(backend)
            if name not in study_names:
                names = ", ".join(sorted(study_names)) or "none"
                raise TunerError(
                    f"the storage has no study {name!r}; its studies are: {names}."
                )
            study = optuna.load_study(study_name=name, storage=backend)
            if "goals" not in study.user_attrs:
                raise TunerError(f"study {name!r} was not created by AutoTuner.")
            return cls.of(study)

    @cached_property
    def complete(self) -> tuple[Solution, ...]:
        """Every trial with a result, in order of number."""
        completed = [t for t in self.trials if t.state == State.COMPLETE]
        finite = [t for t in completed if np.isfinite(t.values).all()]
        return tuple(_solution(trial, self.goals) for trial in finite)

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
        """Return the objectives of solutions, float `[N, M]`, all to be minimized."""
        names = self.goals.names
        rows = [[s.results[name].value for name in names] for s in solutions]
        return np.array(rows, dtype=float).reshape(-1, len(names)) * self.goals.signs

    def to_frame(self) -> pd.DataFrame:
        """Return one row per trial, by number: its configuration, results and state.

        A result with an interval also has columns `…_low` and `…_high`; one with a unit
        or a source has `…_unit` or `…_source`. Energy always has a source: "not stated"
        if the objective returned a bare number.
        """
        return tables.trials(self)

    def failures(self) -> pd.DataFrame:
        """Return one row per failed trial: kind, reason, traceback, configuration."""
        return tables.failures(self)

    def hypervolume(
        self,
        reference: Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
    ) -> float:
        """Return the fraction of the box from `ideal` to `reference` that is dominated.

        It is 0 without a front, and 1 if one trial reaches the ideal. By default, the
        box spans from the best to the worst values of the feasible trials, plus a
        tenth; to compare two studies, give both the same `reference` and `ideal`, each
        with one value per objective.

        Raises:
            ValueError: if a corner lacks an objective, or if `ideal` is not better.
        """
        return volume.share(self, reference, ideal)

    def history(self) -> pd.Series:
        """Return `hypervolume()` after each trial, in the box of the whole study."""
        return volume.history(self)

    def importances(self, evaluator: str = "fanova") -> dict[str, dict[str, float]]:
        """Return each hyperparameter's share of the importance for each objective.

        The largest comes first. "fanova" is the share of the objective's variance over
        the whole space that each explains, according to a forest fitted to the trials
        (Hutter et al. 2014, "An efficient approach for assessing hyperparameter
        importance", ICML). "ped_anova" finds the hyperparameters in which the best
        tenth of the trials stand out (Watanabe et al. 2023, "PED-ANOVA", IJCAI); it
        says little after a search that has converged, since the trials are then all
        alike. Both are misleading with few trials: `why()` says whether to trust them.

        Raises:
            ValueError: if there are fewer than 4 results, or if `evaluator` is unknown.
        """
        return {n: importances(self, n, evaluator) for n in self.goals.names}

    @cached_property
    def steadiness(self) -> dict[str, float]:
        """How stable the most important hyperparameter of each objective is, in 0..1.

        This is the fraction of random halves of the trials in which it stays the same;
        if it is low, `importances` may be due to chance.
        """
        return {name: steadiness(self, name) for name in self.goals.names}

    def knee(self) -> Solution:
        """Return the front's compromise: the solution nearest to the ideal point.

        See `pareto.knee` for the distance.

        Raises:
            TunerError: if the front is empty.
        """
        self._need_front()
        return self.front[knee(self.losses(self.front))]

    def best(self, weights: Mapping[str, float] | None = None) -> Solution:
        """Return the solution with the smallest weighted sum of the objectives.

        The objectives are scaled so that the front spans 0..1 in each.

        Args:
            weights: objective → its weight; the others have weight 0. None means equal
                weights. A weighted sum never selects a point where the front is not
                convex.

        Raises:
            ValueError: if a name is not an objective, a weight is negative, or all are
                0.
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
                f"weights must not be negative, and at least one above 0; got "
                f"{weights!r}."
            )
        losses, _ = scaled(self.losses(self.front))
        span = np.ptp(losses, axis=0)
        shares = (losses - losses.min(0)) / np.where(span > 0, span, 1)
        return self.front[int(np.argmin(shares @ (w / w.max())))]

    def export(self, path: str | Path, solution: Solution | None = None) -> Path:
        """Write a configuration and its results to a .json or .toml file, atomically.

        Args:
            solution: one from `best`, `knee` or `front`; by default, the knee.

        Raises:
            ValueError: if the file has another type, or if a value for TOML is None.
            TunerError: if there is no solution.
        """
        return write_config(Path(path), self.name, solution or self.knee())

    def sources(self, name: str) -> tuple[str, ...]:
        """Return the sources of the results called `name`, the most frequent first.

        Energy without a source counts as "not stated".
        """
        results = [s.results[name] for s in self.complete if name in s.results]
        counts = Counter(tables.source(name, number) for number in results)
        return tuple(source for source, _ in counts.most_common() if source)

    def units(self, name: str) -> str:
        """Return the unit of the results called `name`; "" if they share none."""
        units = {s.results[name].unit for s in self.complete if name in s.results}
        return units.pop() if len(units) == 1 else ""

    def plot(self, objectives: tuple[str, ...] | None = None) -> "go.Figure":
        """Plot the front over all other trials; hover to see a configuration (plotly).

        Two objectives are plotted in 2-D, three in 3-D; `objectives` selects from more.

        Raises:
            ValueError: if a name is not an objective, or if there are more than three.
        """
        return plots.front(self, self._plot_names(objectives))

    def plot_history(self) -> "go.Figure":
        """Plot the hypervolume after each trial (plotly)."""
        return plots.history(self)

    def plot_importances(self, evaluator: str = "fanova") -> "go.Figure":
        """Plot which hyperparameters matter for which objectives (plotly)."""
        return plots.importances(self.importances(evaluator), evaluator)

    def why(self) -> str:
        return explaining.why(self)

    def _repr_html_(self) -> str:
        import html

        frame = self.to_frame()
        if len(frame):
            frame = frame[frame["on_front"]].head(SHOWN)
        table = frame.to_html(float_format=lambda x: f"{x:.4g}")
        return f"<p>{html.escape(self.why())}</p>{table}"

    def _plot_names(self, objectives: tuple[str, ...] | None) -> tuple[str, ...]:
        names = self.goals.names
        chosen = tuple(objectives) if objectives is not None else names[:3]
        valid = set(chosen) <= set(names) and len(set(chosen)) == len(chosen)
        if not valid or not 1 <= len(chosen) <= 3:
            raise ValueError(
                f"objectives must be one to three of {list(names)}; got {objectives!r}."
            )
        return chosen

    def _meets_limits(self, solution: Solution) -> bool:
        results = solution.results  # lacks a limit's value if told to Optuna's study
        limits = self.goals.limits.items()
        return all(name in results and results[name] <= bound for name, bound in limits)

    def _need_front(self) -> None:
        if not self.front:
            raise TunerError(f"study {self.name!r} has no solution: {self.why()}")


def _solution(trial: "optuna.trial.FrozenTrial", goals: Goals) -> Solution:
    return Solution(trial.number, dict(trial.params), tables.results(trial, goals))
