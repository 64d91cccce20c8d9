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
TRACEBACK = 8000  # characters: some databases truncate longer strings


class AutoTuner:
    """Search for the Pareto front: the configurations that no other one dominates.

    Args:
        objective: `objective(trial) -> {name: number or Measured}`, with every
            objective and limit. Other names are notes: they are stored and shown, but
            not optimized. `trial` is the configuration (`trial["lr"]`, `**trial`);
            `trial.report(epoch, error=…, …)` lets a pruner stop it.
        space: name → `[choices]`, `(low, high)` (integers if both are),
            `(low, high, "log")`, or an Optuna distribution.
        minimize, maximize: the names of the objectives; at least one is required.
        limits: name → upper bound of a returned number. Configurations that meet the
            limits rank first, and only they can be on the front.
        sampler: an Optuna sampler; by default `GeneticSampler`. A sampler that you pass
            keeps its own seed: give each worker a different one.
        pruner: `DominationPruner()`, or any object with its `report` method; with one
            objective, any Optuna pruner too. None never stops a trial early.
        seed: seed of the default sampler. A search with a single worker is exactly
            reproducible; each additional worker and each resumed search gets its own
            random stream.
        storage: None keeps the study in memory, a path in a Journal file, a URL in a
            database (`postgresql+psycopg://user@host/name`, `sqlite:///file`); an Optuna
            storage is used as is. An existing study with that `name` is resumed.
        name: the study's name in the storage.

    To use several workers, run the same script several times with the same `storage`
    and `name`. On one machine, a path is enough; on several, use a database that all of
    them can reach or, if only one of them can, Optuna's gRPC proxy in front of it:

    >>> from optuna.storages import GrpcStorageProxy                # doctest: +SKIP
    >>> proxy = GrpcStorageProxy(host="head-node", port=13000)      # doctest: +SKIP
    >>> AutoTuner(objective, space, storage=proxy).run(trials=50)   # doctest: +SKIP

    (on the machine with the database: `optuna.storages.run_grpc_proxy_server(
    RDBStorage(url), host="0.0.0.0", port=13000)`; the proxy does not forward heartbeats,
    so a lost worker is detected only by another worker on the same machine).

    If a worker is killed, only time is lost: its trial is marked as failed and its
    configuration is requeued (at most twice) when a worker on the same machine starts
    or begins a trial; with a database, any worker does this after 90 s.

    Attributes:
        study: the Optuna study itself, for its callbacks, dashboard and plots, and for
            ask-and-tell: `trial = tuner.study.ask(tuner.space)`, then
            `tuner.study.tell(trial, values)` with the objectives in the order of
            `minimize`, then `maximize`. Pass limits with `trial.set_constraint(name,
            value - bound)`; a trial without one counts as exceeding it.

    Raises:
        ValueError: if the space is empty, an entry is invalid, a name is duplicated, or
            there is no objective.
        TypeError: if the objective, sampler, pruner or storage has the wrong type.
        TunerError: if the stored study has a different space or different objectives.
        StorageError: if the storage cannot be opened or written.

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
        backend = open_storage(storage)
        self.study = open_study(backend, name, self.goals, self.space, self.sampler)
        if isinstance(pruner, optuna.pruners.BasePruner):
            self.study.pruner = pruner

    def snapshot(self) -> Study:
        """Return the study so far, including the trials of other workers."""
        return self._snapshot(end_reason="")

    def enqueue(self, config: Mapping[str, Any]) -> None:
        """Try this configuration next, for example one that is known to be good.

        Hyperparameters that it omits are sampled. A configuration that was already
        tried or queued is not queued again.

        Raises:
            ValueError: if a value lies outside the space.
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
        """Try `trials` more configurations, or run until another criterion is met.

        A run also ends when every configuration of a finite space has been tried, or on
        Ctrl-C: finished trials are kept, the running one is marked as failed, and its
        configuration is requeued. `Study.why` says why the run ended.

        Args:
            seconds: time after which no new trial starts; the running one finishes.
            patience: number of trials without a change in the front that ends the run.
            timeout: seconds after which a trial is aborted and marked as failed.
            n_jobs: number of concurrent trials, run in threads of this process as in
                Optuna; -1 means one per core. They share the GPU, and after Ctrl-C they
                all run to the end. Which results a trial sees depends on timing, so a
                search is not exactly reproducible.
            callbacks: called as `callback(tuner.study, trial)` after each trial, with
                Optuna's record of it; calling `study.stop()` ends the run.

        Raises:
            ValueError: if none of `trials`, `seconds` and `patience` is given, or if a
                number is not above 0.
            ObjectiveError: if the first results lack an objective.
            TunerError: if the first three trials crash at the same line.
            StorageError: if the storage stops responding; finished trials are kept.
        """
        trials, patience, n_jobs = check_run(trials, seconds, patience, timeout, n_jobs)
        reason = ""
        with quiet(), answering("the study"), _bar(trials, progress) as bar:
            progress_callbacks = [self._progress_callback(bar)] if bar else []
            every_callback = [*progress_callbacks, *callbacks]
            ending = Ending(self.space, seconds, patience, every_callback)
            try:
                self._search(ending, trials, timeout, n_jobs)
                reason = ending.reason
            except KeyboardInterrupt:
                reason = "interrupted"
                stop_own(self.study, ending.begun)
        return self._snapshot(reason)

    def _search(
        self, ending: Ending, trials: int | None, timeout: float | None, n_jobs: int
    ) -> None:
        """Run Optuna's own loop, which sends the heartbeats."""

        def evaluate(optuna_trial: "optuna.Trial") -> list[float]:
            ending.begun.append(optuna_trial.number)
            return self._evaluate(optuna_trial, timeout)

        over = ending.is_over(self.study)
        while not over:
            remaining = None if trials is None else trials - len(ending.begun)
            try:
                self.study.optimize(
                    evaluate,
                    remaining,
                    n_jobs=n_jobs,
                    catch=(_TrialFailed,),
                    callbacks=[ending],
                )
                over = True
            except (ValueError, AssertionError):
                # Optuna rejects the result of a trial that another worker presumed dead
                if not ending.lost_one(self.study):
                    raise
                over = ending.is_over(self.study) or len(ending.begun) == trials
        if ending.error:
            raise ending.error

    def _evaluate(
        self, optuna_trial: "optuna.Trial", timeout: float | None
    ) -> list[float]:
        optuna_trial.set_user_attr("worker", identity())
        config = self._propose(optuna_trial)
        trial = Trial(optuna_trial, config, self.goals, self.pruner)
        try:
            with deadline(timeout):
                output = self.objective(trial)
            results = read_returned(self.goals, output, trial)
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            _note(optuna_trial, "interrupted", "Ctrl-C")
            raise
        except TimedOut:
            reason = f"it took longer than {timeout:g} s"
            raise _note(optuna_trial, "timeout", reason) from None
        except NotFinite as error:
            raise _note(optuna_trial, "not finite", str(error)) from None
        except (Exception, SystemExit) as error:
            raise _note_crash(optuna_trial, error) from None
        records = {name: number.to_dict() for name, number in results.items()}
        optuna_trial.set_user_attr("results", records)
        if bad := not_finite(self.goals, results):
            raise _note(optuna_trial, "not finite", str(NotFinite(bad)))
        for name, bound in self.goals.limits.items():
            excess = results[name].value - bound
            optuna_trial.set_constraint(name, max(-LARGEST, min(excess, LARGEST)))
        return [results[name].value for name in self.goals.names]

    def _propose(self, optuna_trial: "optuna.Trial") -> dict[str, Any]:
        try:
            return {
                n: suggest(optuna_trial, n, entry) for n, entry in self.space.items()
            }
        except (ValueError, AssertionError) as error:
            # `_search` would mistake these for a lost worker
            raise TunerError(f"the sampler failed: {error}") from error

    def _progress_callback(self, bar: Any) -> Callable:
        """Return a callback that advances the progress bar."""
        finished = itertools.count(1)

        def show(study: "optuna.Study", trial: Any) -> None:
            facts = _facts(Study.of(study))
            bar.update(0, completed=next(finished), facts=facts)

        return show

    def _snapshot(self, end_reason: str) -> Study:
        with answering("the study"):
            return Study.of(self.study, end_reason)


def _check_parts(sampler: Any, pruner: Any, objectives: int) -> None:
    if sampler is not None and not isinstance(sampler, optuna.samplers.BaseSampler):
        raise TypeError(f"sampler must be an Optuna sampler; got {sampler!r}.")
    is_optuna_pruner = isinstance(pruner, optuna.pruners.BasePruner)
    if is_optuna_pruner and objectives > 1:
        raise TypeError(
            f"pruner must be DominationPruner() or None with {objectives} objectives: "
            f"Optuna's own pruners take one objective only; got {pruner!r}."
        )
    if (
        not is_optuna_pruner
        and pruner is not None
        and not callable(getattr(pruner, "report", None))
    ):
        raise TypeError(
            f"pruner must be an Optuna pruner, or have report(trial, step, values), as "
            f"DominationPruner does; got {pruner!r}."
        )


class _TrialFailed(Exception):
    """The only exception that a search survives; the trial's note holds the reason."""


def _note(optuna_trial: Any, kind: str, reason: str, **more: str) -> _TrialFailed:
    optuna_trial.set_user_attr("failure", {"kind": kind, "reason": reason} | more)
    return _TrialFailed(reason)


def _note_crash(optuna_trial: Any, error: BaseException) -> _TrialFailed:
    if isinstance(error, ObjectiveError):
        return _note(optuna_trial, "wrong result", str(error))
    frame = traceback.extract_tb(error.__traceback__)[-1]
    lines = "".join(traceback.format_exception(error))
    details = {"where": f"{frame.filename}:{frame.lineno}"}
    details["traceback"] = lines[-TRACEBACK:]
    return _note(optuna_trial, "crash", f"{type(error).__name__}: {error}", **details)


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
