"""The result of a search, with its front, trade-offs and importances."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd

from . import explaining, plots, tables, volume
from .engine import optuna, quiet
from .errors import TunerError
from .export import write_config
from .goals import Goals
from .importance import FEWEST, importances, steadiness
from .results import SearchResults, Solution
from .sampler import common_space
from .space import Distribution
from .storage import Storage, answering, open_storage

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN = 20  # rows displayed in a notebook


@dataclass(frozen=True)
class Study(SearchResults):
    """The finished trials of a search.

    Attributes:
        name: the name of the study in its storage.
        goals: the objectives and limits.
        space: the search space, with an Optuna distribution for each hyperparameter. If
            it is a function, these are the hyperparameters of the trials so far, except
            those whose range differs between trials.
        trials: Optuna's records of the finished trials, in order of trial number.
        end_reason: why the search ended early: "interrupted" (by Ctrl-C),
            "exhausted" (every configuration was tried) or "stalled" (see `patience` in
            `AutoTuner.run`). It is empty if the search did not end early.

    >>> from deepseek_learn import AutoTuner
    >>> def objective(config):
    ...     return {"error": (config["x"] - 0.3) ** 2}
    >>> tuner = AutoTuner(objective, {"x": (0.0, 1.0)}, minimize=("error",), seed=0)
    >>> study = tuner.run(trials=20, progress=False)
    >>> abs(study.best().config["x"] - 0.3) < 0.1
    True
    """

    @classmethod
    def of(cls, study: "optuna.Study", end_reason: str = "") -> "Study":
        """Create a `Study` from an Optuna study that was created by `AutoTuner`."""
        attributes = study.user_attrs
        read = optuna.distributions.json_to_distribution
        entries = attributes["space"].items()
        space = {name: cast(Distribution, read(entry)) for name, entry in entries}
        trials = study.get_trials(deepcopy=False, states=tuple(tables.STATES))
        if not space:  # that of a function
            space = cast(dict[str, Distribution], common_space(trials))
        goals = Goals.of(attributes["goals"])
        return cls(study.study_name, goals, space, tuple(trials), end_reason)

    @classmethod
    def load(cls, storage: Storage, name: str = "study") -> "Study":
        """Load a study from its storage (see `AutoTuner`).

        This works even while workers are running.

        Raises:
            TunerError: if the file does not exist, if the study was not created by
                `AutoTuner`, or if the storage has no study called `name`. In the last
                case, the message lists the studies in the storage.
            StorageError: if the storage cannot be opened.
        """
        is_url = "://" in str(storage)
        if isinstance(storage, str | Path) and not (is_url or Path(storage).exists()):
            raise TunerError(
                f"storage must be an existing file; there is no file {storage}."
            )
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

    def to_frame(self) -> pd.DataFrame:
        """Return a table with the configuration, results and state of each trial.

        The table has one row per trial, in order of trial number. A result with an
        interval also has columns ending in `_low` and `_high`, and a result with a unit
        or a source has a column ending in `_unit` or `_source`. The source of energy is
        always shown; it is "not stated" if the objective returned a plain number.
        """
        return tables.trials(self)

    def failures(self) -> pd.DataFrame:
        """Return a table with one row per failed trial.

        It lists the kind of failure, the reason, the traceback and the configuration.
        """
        return tables.failures(self)

    def hypervolume(
        self,
        reference: Mapping[str, float] | None = None,
        ideal: Mapping[str, float] | None = None,
    ) -> float:
        """Return the fraction of the `ideal`-to-`reference` box that is dominated.

        The fraction is 0 if the front is empty and 1 if a trial reaches the ideal
        point. By default, the box extends from the best to the worst values of the
        feasible trials, with a margin of 10% at the worst end. To compare two studies,
        pass the same `reference` and `ideal` to both. Each must contain one value per
        objective.

        Raises:
            ValueError: if `reference` or `ideal` is missing an objective, or if `ideal`
                is not better than `reference` in every objective.
        """
        return volume.share(self, reference, ideal)

    def history(self) -> pd.Series:
        """Return the hypervolume after each trial.

        All values are relative to the default box for the whole study.
        """
        return volume.history(self)

    def importances(self, evaluator: str = "fanova") -> dict[str, dict[str, float]]:
        """Return the importance of each hyperparameter for each objective.

        The importances for an objective are sorted in descending order. With "fanova",
        they are the fractions of the objective's variance over the whole space that
        each hyperparameter explains, according to a forest fitted to the trials (Hutter
        et al. 2014, "An efficient approach for assessing hyperparameter importance",
        ICML). With "ped_anova", they measure how much each hyperparameter sets the best
        tenth of the trials apart from the rest (Watanabe et al. 2023, "PED-ANOVA",
        IJCAI). This is not informative after a search has converged, because the trials
        are then all similar. Optuna computes both; if there are more than 100 trials,
        the forest is fitted to a random 100 of them. Both are misleading if there are
        few trials; `why()` reports whether they can be trusted.

        Raises:
            ValueError: if there are fewer than 4 results, or if `evaluator` is unknown.
        """
        return {n: importances(self, n, evaluator) for n in self.goals.names}

    @cached_property
    def steadiness(self) -> dict[str, float]:
        """How stable the most important hyperparameter is for each objective (0..1).

        This is the fraction of random halves of the trials for which the same
        hyperparameter is the most important. If it is low, `importances` may be due to
        chance.
        """
        return {name: steadiness(self, name) for name in self.goals.names}

    def export(self, path: str | Path, solution: Solution | None = None) -> Path:
        """Write a configuration and its results atomically to a .json or .toml file.

        Args:
            solution: the solution to write, as returned by `best`, `knee` or `front`;
                the knee by default.

        Raises:
            ValueError: if the file has a different extension, or if a hyperparameter is
                None and the file is a .toml file.
            TunerError: if there is no solution.
        """
        return write_config(Path(path), self.name, solution or self.knee())

    def plot(self, objectives: tuple[str, ...] | None = None) -> "go.Figure":
        """Plot the front and all other trials (plotly).

        Hover over a point to see its configuration. Two objectives are plotted in 2-D
        and three in 3-D. If there are more, the first three are plotted unless
        `objectives` selects others.

        Raises:
            ValueError: if a name is not an objective, or if more than three are
                selected.
        """
        return plots.front(self, self._plot_names(objectives))

    def plot_history(self) -> "go.Figure":
        """Plot the hypervolume after each trial (plotly)."""
        return plots.history(self.history())

    def plot_importances(self, evaluator: str = "fanova") -> "go.Figure":
        """Plot the importance of each hyperparameter for each objective (plotly)."""
        return plots.importances(self.importances(evaluator), evaluator)

    def why(self) -> str:
        few = len(self.complete) < FEWEST or len(self.space) < 2
        return explaining.why(self, {} if few else self._most_important())

    def _most_important(self) -> dict[str, explaining.MostImportant]:
        """Return the most important hyperparameter for each objective."""
        first = {n: next(iter(s.items())) for n, s in self.importances().items()}
        return {
            objective: explaining.MostImportant(name, share, self.steadiness[objective])
            for objective, (name, share) in first.items()
        }

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
