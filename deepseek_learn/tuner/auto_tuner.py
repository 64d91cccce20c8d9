"""AutoTuner: search hyperparameters for several objectives at once, on Optuna.

Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

import itertools
import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

from ..catalog import text
from .counts import check_run
from .deadline import TimedOut, deadline
from .ending import Ending
from .engine import optuna, quiet
from .errors import ObjectiveError, TunerError
from .goals import not_finite, read_goals, read_returned
from .seeding import SeededByPlace
from .space import check_config, read_space, suggest
from .storage import Storage, answering, open_storage, open_study
from .study import Study
from .trial import NotFinite, Trial
from .workers import identity, stop_own

LARGEST = sys.float_info.max
TRACEBACK = 8000  # characters kept: some databases cut longer texts


class AutoTuner:
    """Finds the configurations that no other beats in every objective.

    Args:
        objective: `objective(trial) -> {name: number or Measured}`, with every
            objective and limit. Further names are notes: kept and shown, not optimized.
            `trial` is the configuration (`trial["lr"]`, `**trial`); `trial.report(epoch,
            error=…, …)` lets a pruner stop it.
        space: name → `[choices]`, `(low, high)` (whole numbers when both are),
            `(low, high, "log")`, or an Optuna distribution.
        minimize, maximize: the objectives, at least one.
        limits: name → upper bound of a returned number. Configurations within the
            limits come first, and only they are on the front.
        sampler: an Optuna sampler; by default `GeneticSampler`. One of your own keeps
            its own seed: give each worker another.
        pruner: `DominationPruner()`, or another with its `report`; with one objective
            also any of Optuna's. None stops no trial early.
        seed: of the default sampler. One worker repeats its search exactly; each
            further worker, and each resumed search, draws from a stream of its own.
        storage: None keeps the study in memory, a path in a Journal file, a URL in a
            database (`postgresql+psycopg://user@host/name`, `sqlite:///file`); an Optuna
            storage is taken as it is. An existing study of that `name` is resumed.
        name: of the study in the storage.

    Several workers: run the same script several times with the same `storage` and
    `name`. On one machine a path will do; on several, take a database that all reach,
    or, when only one machine reaches it, Optuna's gRPC proxy before it:

    >>> from optuna.storages import GrpcStorageProxy                # doctest: +SKIP
    >>> proxy = GrpcStorageProxy(host="head-node", port=13000)      # doctest: +SKIP
    >>> AutoTuner(objective, space, storage=proxy).run(trials=50)   # doctest: +SKIP

    (on the machine that has the database: `optuna.storages.run_grpc_proxy_server(
    RDBStorage(url), host="0.0.0.0", port=13000)`; the proxy passes no heartbeats, so
    that a worker lost on another machine is found only by a worker on that machine).

    A worker that was killed loses nothing but time: its trial is failed and its
    configuration queued again, at most twice, when a worker on the same machine starts
    or begins a trial; with a database, by any worker after 90 s.

    Attributes:
        study: the Optuna study itself, for its callbacks, dashboard, plots, and ask and
            tell: `trial = tuner.study.ask(tuner.space)`, then `tuner.study.tell(trial,
            values)` with the objectives as `minimize` and then `maximize` name them.
            Tell limits by `trial.set_constraint(name, value - bound)`; a trial without
            one counts as beyond it.

    Raises:
        ValueError: for an empty space, a bad entry, a name twice, no objective.
        TypeError: for an objective, sampler, pruner or storage that is none.
        TunerError: when the stored study has another space or other objectives.
        StorageError: when the storage cannot be opened or written.

    >>> tuner = AutoTuner(objective, {"lr": (1e-4, 1e-1, "log"), "width": [16, 32, 64]},
    ...     minimize=("error", "latency_ms"))                       # doctest: +SKIP
    >>> study = tuner.run(trials=60)                                # doctest: +SKIP
    >>> study.why(), study.plot(), study.knee().config              # doctest: +SKIP
    """

    def __init__(
        self,
        objective: Callable[[Trial], Mapping[str, Any]],
        space: Mapping[str, Any],
        minimize: Iterable[str] = (),
        maximize: Iterable[str] = (),
        limits: Mapping[str, float] | None = None,
        sampler: "optuna.samplers.BaseSampler | None" = None,
        pruner: Any = None,
        seed: int = 0,
        storage: Storage = None,
        name: str = "study",
    ):
        if not callable(objective):
            raise TypeError(f"objective must be a function; got {objective!r}.")
        self.objective, self.pruner = objective, pruner
        self.space = read_space(space)
        self.goals = read_goals(minimize, maximize, limits, self.space)
        _check_parts(sampler, pruner, len(self.goals.names))
        self.sampler = sampler or SeededByPlace(_default_sampler, seed)
        kept_in = open_storage(storage)
        self.study = open_study(kept_in, name, self.goals, self.space, self.sampler)
        if isinstance(pruner, optuna.pruners.BasePruner):
            self.study.pruner = pruner

    def snapshot(self) -> Study:
        """What has been tried so far, other workers' trials too."""
        return self._snapshot(ended="")

    def enqueue(self, config: Mapping[str, Any]) -> None:
        """Try this configuration next, such as one known to be good.

        Hyperparameters that it leaves out are drawn. One that was tried or queued
        already is not queued again.

        Raises:
            ValueError: for a value outside the space.
        """
        with quiet(), answering("the study"):
            fixed = check_config(self.space, config)
            self.study.enqueue_trial(fixed, skip_if_exists=True)

    def run(
        self,
        trials: int | None = None,
        seconds: float | None = None,
        progress: bool = True,
        *,
        patience: int | None = None,
        timeout: float | None = None,
        n_jobs: int = 1,
        callbacks: Iterable[Callable[["optuna.Study", Any], None]] = (),
    ) -> Study:
        """Try `trials` further configurations, or go on until something else ends it.

        A run is also over when every configuration of a finite space was tried. Ctrl-C
        ends it too: finished trials are kept, the running one is failed and its
        configuration queued again. `Study.why` says which it was.

        Args:
            seconds: after which no further trial begins; the running one is finished.
            patience: trials in a row that may leave the front as it is.
            timeout: seconds after which a trial is failed.
            n_jobs: trials at a time, in threads of this process, as Optuna's; -1: one
                per core. They share the GPU, and after Ctrl-C they are all finished.
                Which trial sees which result depends on their speed, so that a search
                does not repeat exactly.
            callbacks: called as `callback(tuner.study, trial)` after each trial, with
                Optuna's record of it; `study.stop()` in one ends the run.

        Raises:
            ValueError: when neither `trials`, `seconds` nor `patience` is given, or a
                number is not above 0.
            ObjectiveError: when the first results lack an objective.
            TunerError: when the first three trials crash at the same line.
            StorageError: when the storage stops answering; finished trials are kept.
        """
        trials, patience, n_jobs = check_run(trials, seconds, patience, timeout, n_jobs)
        ended = ""
        with quiet(), answering("the study"), _bar(trials, progress) as bar:
            shown = [self._shown(bar)] if bar else []
            ending = Ending(self.space, seconds, patience, [*shown, *callbacks])
            try:
                self._search(ending, trials, timeout, n_jobs)
                ended = ending.reason
            except KeyboardInterrupt:
                ended = "interrupted"
                stop_own(self.study, ending.begun)
        return self._snapshot(ended)

    def _search(
        self, ending: Ending, trials: int | None, timeout: float | None, n_jobs: int
    ) -> None:
        """Optuna's own loop; it sends the heartbeats."""

        def evaluate(running: "optuna.Trial") -> list[float]:
            ending.begun.append(running.number)
            return self._evaluate(running, timeout)

        over = ending.is_over(self.study)
        while not over:
            left = None if trials is None else trials - len(ending.begun)
            try:
                self.study.optimize(
                    evaluate, left, n_jobs=n_jobs, catch=(_Failed,), callbacks=[ending]
                )
                over = True
            except (ValueError, AssertionError):
                # Optuna refuses the result of a trial that another worker took for dead
                if not ending.lost_one(self.study):
                    raise
                over = ending.is_over(self.study) or len(ending.begun) == trials
        if ending.error:
            raise ending.error

    def _evaluate(self, running: "optuna.Trial", timeout: float | None) -> list[float]:
        running.set_user_attr("worker", identity())
        config = self._propose(running)
        trial = Trial(running, config, self.goals, self.pruner)
        try:
            with deadline(timeout):
                returned = self.objective(trial)
            results = read_returned(self.goals, returned, trial)
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            _note(running, "interrupted", "Ctrl-C")
            raise
        except TimedOut:
            reason = f"it took longer than {timeout:g} s"
            raise _note(running, "timeout", reason) from None
        except NotFinite as error:
            raise _note(running, "not finite", str(error)) from None
        except (Exception, SystemExit) as error:
            raise _note_crash(running, error) from None
        kept = {name: number.to_dict() for name, number in results.items()}
        running.set_user_attr("results", kept)
        if bad := not_finite(self.goals, results):
            raise _note(running, "not finite", str(NotFinite(bad)))
        for name, bound in self.goals.limits.items():
            excess = results[name].value - bound
            running.set_constraint(name, max(-LARGEST, min(excess, LARGEST)))
        return [results[name].value for name in self.goals.names]

    def _propose(self, running: "optuna.Trial") -> dict[str, Any]:
        try:
            return {n: suggest(running, n, entry) for n, entry in self.space.items()}
        except (
            ValueError,
            AssertionError,
        ) as error:  # not to be taken for a lost worker
            raise TunerError(f"the sampler failed: {error}") from error

    def _shown(self, bar: Any) -> Callable:
        """A callback that moves the progress bar."""
        finished = itertools.count(1)

        def show(study: "optuna.Study", trial: Any) -> None:
            facts = _facts(Study.of(study))
            bar.update(0, completed=next(finished), facts=facts)

        return show

    def _snapshot(self, ended: str) -> Study:
        with answering("the study"):
            return Study.of(self.study, ended)


def _check_parts(sampler: Any, pruner: Any, objectives: int) -> None:
    if sampler is not None and not isinstance(sampler, optuna.samplers.BaseSampler):
        raise TypeError(f"sampler must be an Optuna sampler; got {sampler!r}.")
    optunas = isinstance(pruner, optuna.pruners.BasePruner)
    if optunas and objectives > 1:
        raise TypeError(
            f"pruner must be DominationPruner() or None with {objectives} objectives: "
            f"Optuna's own pruners take one objective only; got {pruner!r}."
        )
    if (
        not optunas
        and pruner is not None
        and not callable(getattr(pruner, "report", None))
    ):
        raise TypeError(
            f"pruner must be an Optuna pruner, or have report(trial, step, values), as "
            f"DominationPruner has; got {pruner!r}."
        )


class _Failed(Exception):
    """The one exception that lets a search go on: its trial's note says what was."""


def _note(running: Any, kind: str, reason: str, **more: str) -> _Failed:
    running.set_user_attr("failure", {"kind": kind, "reason": reason} | more)
    return _Failed(reason)


def _note_crash(running: Any, error: BaseException) -> _Failed:
    if isinstance(error, ObjectiveError):
        return _note(running, "wrong result", str(error))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    lines = "".join(traceback.format_exception(error))
    facts = {"where": f"{frame.filename}:{frame.lineno}"}
    facts["traceback"] = lines[-TRACEBACK:]
    return _note(running, "crash", f"{type(error).__name__}: {error}", **facts)


def _default_sampler(seed: int) -> "optuna.samplers.BaseSampler":
    from .sampler import GeneticSampler

    return GeneticSampler(seed=seed)


def _bar(trials: int | None, progress: bool) -> Any:
    if not progress:
        return nullcontext()
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed

    facts = TextColumn("{task.fields[facts]}")
    bar = Progress(BarColumn(), MofNCompleteColumn(), Elapsed(), facts)
    bar.add_task("", total=trials, facts="")
    return bar


def _facts(study: Study) -> str:
    front, failed = len(study.front), len(study.failures())
    return text("tuner.bar", front=front, failed=failed)
