"""What a search found: the front, what bought what, and what mattered."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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

State = optuna.trial.TrialState
SHOWN = 20  # rows in a notebook


@dataclass(frozen=True)
class Solution:
    """A configuration and what it gave.

    Attributes:
        number: of its trial.
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
        name: of the study in its storage.
        goals: its objectives and limits.
        space: hyperparameter → Optuna distribution.
        trials: Optuna's records of the finished trials, by number.
        ended: why the search was over before its time: "interrupted" by Ctrl-C,
            "exhausted" (every configuration was tried), "stalled" (`patience`); or "".
    """

    name: str
    goals: Goals
    space: dict[str, Distribution]
    trials: tuple["optuna.trial.FrozenTrial", ...]
    ended: str = ""

    @classmethod
    def of(cls, study: "optuna.Study", ended: str = "") -> "Study":
        """The finished trials of an Optuna study that AutoTuner began."""
        kept = study.user_attrs
        read = optuna.distributions.json_to_distribution
        space = {name: read(entry) for name, entry in kept["space"].items()}
        trials = study.get_trials(deepcopy=False, states=tuple(tables.STATES))
        goals = Goals.of(kept["goals"])
        return cls(study.study_name, goals, space, tuple(trials), ended)

    @classmethod
    def load(cls, storage: Storage, name: str = "study") -> "Study":
        """A study from its storage (see `AutoTuner`), also while workers go on.

        Raises:
            TunerError: when the storage has no study of that name; it names those it has.
            StorageError: when the storage cannot be opened.
        """
        is_path = isinstance(storage, str | Path) and "://" not in str(storage)
        if is_path and not Path(storage).exists():
            raise TunerError(f"storage must exist; there is no file {storage}.")
        opened = open_storage(storage, write=False)
        with quiet(), answering("the storage"):
            known = optuna.get_all_study_names(opened)
            if name not in known:
                names = ", ".join(sorted(known)) or "none"
                raise TunerError(
                    f"the storage has no study {name!r}; its studies are: {names}."
                )
            study = optuna.load_study(study_name=name, storage=opened)
            if "goals" not in study.user_attrs:
                raise TunerError(f"study {name!r} was not begun by AutoTuner.")
            return cls.of(study)

    @cached_property
    def complete(self) -> tuple[Solution, ...]:
        """Every trial that gave a result, by number."""
        done = [t for t in self.trials if t.state == State.COMPLETE]
        finite = [t for t in done if np.isfinite(t.values).all()]
        return tuple(_solution(trial, self.goals) for trial in finite)

    @cached_property
    def feasible(self) -> tuple[Solution, ...]:
        """Those of `complete` that kept every limit."""
        return tuple(s for s in self.complete if self._keeps_limits(s))

    @cached_property
    def front(self) -> tuple[Solution, ...]:
        """Those of `feasible` that no other beats, best first objective first."""
        if not self.feasible:
            return ()
        losses = self.losses(self.feasible)
        first = np.flatnonzero(nondominated_rank(losses) == 0)
        ordered = sorted(first, key=lambda i: tuple(losses[i]))
        return tuple(self.feasible[i] for i in ordered)

    def losses(self, solutions: tuple[Solution, ...]) -> np.ndarray:
        """Their objectives, float `[N, M]`, all to be minimized."""
        names = self.goals.names
        rows = [[s.results[name].value for name in names] for s in solutions]
        return np.array(rows, dtype=float).reshape(-1, len(names)) * self.goals.signs

    def to_frame(self) -> pd.DataFrame:
        """One row a trial: configuration, results, state; by trial number.

        A result with an interval has columns `…_low` and `…_high`; one with a unit or a
        source `…_unit`, `…_source`. Energy always has a source: "not stated" when the
        objective gave a bare number.
        """
        return tables.trials(self)

    def failures(self) -> pd.DataFrame:
        """One row a failed trial: kind, reason, traceback, and its configuration."""
        return tables.failures(self)

    def hypervolume(
        self,
        reference: Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
    ) -> float:
        """Share of the box between `ideal` and `reference` that the front dominates.

        0 without a front, 1 when one trial reaches the ideal. By default the box spans
        from the best to the worst values of the feasible trials and a tenth further;
        to compare two studies give both the same `reference` and `ideal`, each a value
        an objective.

        Raises:
            ValueError: when a corner lacks an objective, or ideal is not the better one.
        """
        return volume.share(self, reference, ideal)

    def history(self) -> pd.Series:
        """`hypervolume()` after each trial, in the box of the whole study, by number."""
        return volume.history(self)

    def importances(self, evaluator: str = "fanova") -> dict[str, dict[str, float]]:
        """Objective → hyperparameter → its share of the importance, largest first.

        "fanova": how much of the objective's variance over the whole space each
        explains, by a forest grown on the trials (Hutter, Hoos & Leyton-Brown, ICML
        2014). "ped_anova": in which hyperparameters the best tenth of the trials differ
        (Watanabe, Bansal & Hutter, IJCAI 2023); after a search that drew near to the
        best it says little, since all trials there are alike. Both
        mislead with few trials: `why()` says whether to trust them.

        Raises:
            ValueError: with fewer than 4 results, or for another `evaluator`.
        """
        return {n: importances(self, n, evaluator) for n in self.goals.names}

    @cached_property
    def steadiness(self) -> dict[str, float]:
        """Objective → in what share of random halves of the trials the hyperparameter
        that matters most stays the same; low: `importances` is chance.
        """
        return {name: steadiness(self, name) for name in self.goals.names}

    def knee(self) -> Solution:
        """The front's compromise: nearest to the best of everything (see `knee`).

        Raises:
            TunerError: when the front is empty.
        """
        self._need_front()
        return self.front[knee(self.losses(self.front))]

    def best(self, weights: Mapping[str, float] | None = None) -> Solution:
        """The front's smallest weighted sum, objectives scaled so that it spans 0..1.

        Args:
            weights: objective → how much it counts; absent ones do not count. None: all
                alike. A weighted sum never picks a point where the front is hollow.

        Raises:
            ValueError: for a name that is no objective, or weights that are negative or
                all 0.
            TunerError: when the front is empty.
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
                f"weights must not be negative, and one above 0; got {weights!r}."
            )
        losses, _ = scaled(self.losses(self.front))
        span = np.ptp(losses, axis=0)
        shares = (losses - losses.min(0)) / np.where(span > 0, span, 1)
        return self.front[int(np.argmin(shares @ (w / w.max())))]

    def export(self, path: str | Path, solution: Solution | None = None) -> Path:
        """Write a configuration and what it gave to a .json or .toml file, whole.

        Args:
            solution: from `best`, `knee` or `front`; by default the knee.

        Raises:
            ValueError: for another kind of file, or None in a TOML one.
            TunerError: when there is no solution.
        """
        return write_config(Path(path), self.name, solution or self.knee())

    def sources(self, name: str) -> tuple[str, ...]:
        """Where the results `name` come from, the most frequent first.

        Energy without a source counts as "not stated".
        """
        known = [s.results[name] for s in self.complete if name in s.results]
        found = Counter(tables.source(name, number) for number in known)
        return tuple(source for source, _ in found.most_common() if source)

    def units(self, name: str) -> str:
        """The unit of the results `name`; "" when they have none."""
        units = {s.results[name].unit for s in self.complete if name in s.results}
        return units.pop() if len(units) == 1 else ""

    def plot(self, objectives: tuple[str, ...] | None = None):
        """The front before all other trials; hovering shows the configuration (plotly).

        Two objectives are drawn flat, three in space; `objectives` chooses among more.

        Raises:
            ValueError: when it names something else, or more than three.
        """
        return plots.front(self, self._chosen(objectives))

    def plot_history(self):
        """Hypervolume against the trials (plotly)."""
        return plots.history(self)

    def plot_importances(self, evaluator: str = "fanova"):
        """Which hyperparameter matters for which objective (plotly)."""
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

    def _chosen(self, objectives: tuple[str, ...] | None) -> tuple[str, ...]:
        names = self.goals.names
        chosen = tuple(objectives) if objectives is not None else names[:3]
        known = set(chosen) <= set(names) and len(set(chosen)) == len(chosen)
        if not known or not 1 <= len(chosen) <= 3:
            raise ValueError(
                f"objectives must be one to three of {list(names)}; got {objectives!r}."
            )
        return chosen

    def _keeps_limits(self, solution: Solution) -> bool:
        known = solution.results  # without a limit's value: one told to Optuna's study
        limits = self.goals.limits.items()
        return all(name in known and known[name] <= bound for name, bound in limits)

    def _need_front(self) -> None:
        if not self.front:
            raise TunerError(f"study {self.name!r} has no solution: {self.why()}")


def _solution(trial: "optuna.trial.FrozenTrial", goals: Goals) -> Solution:
    return Solution(trial.number, dict(trial.params), tables.results(trial, goals))
