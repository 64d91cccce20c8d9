"""`AutoTuner`, a multi-objective hyperparameter search built on Optuna.

Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

import sys
import traceback
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .counts import check_run
from .deadline import TimedOut, deadline
from .ending import Ending
from .engine import optuna, quiet
from .errors import ObjectiveError, TunerError
from .goals import check_names, not_finite, read_goals, read_returned
from .progress import advancing, progress_bar
from .space import Space, check_config, define, misfits, read_space, suggest
from .storage import Storage, answering, open_storage, open_study
from .study import Study
from .trial import NotFinite, Trial
from .workers import identity, stop_own

LARGEST = sys.float_info.max
TRACEBACK = 8000  # maximum length in characters; some databases truncate long strings


class AutoTuner:
    """Search for the Pareto front of several objectives.

    The Pareto front is the set of configurations that no other configuration dominates.

    Args:
        objective: a function `objective(trial) -> {name: number or Measured}` that
            returns every objective and every number in `limits`. Any other entries are
            stored and shown as notes, but they are not optimized. `trial` maps
            hyperparameter names to values (`trial["lr"]`, `**trial`). Calling
            `trial.report(epoch, error=…, …)` allows a pruner to stop the trial early.
        space: a dictionary of hyperparameters. Each value is `[choices]`, `(low, high)`
            (integers if both bounds are integers), `(low, high, "log")` or an Optuna
            distribution. For a conditional space, pass a function `space(trial)` that
            calls `suggest_float`, `suggest_int` and `suggest_categorical` of Optuna's
            trial; which ones it calls may depend on the values so far.
        minimize, maximize: the names of the objectives to minimize and to maximize. At
            least one objective is required.
        limits: a dictionary of upper bounds on returned numbers. Configurations that
            meet all limits rank ahead of the others, and only these can be on the
            front.
        sampler: an Optuna sampler; `GeneticSampler` by default. A sampler that you pass
            in keeps its own seed, so give each worker a different one.
        pruner: `DominationPruner()`, or any object with the same `report` method. With
            a single objective, any Optuna pruner works too. If None, no trial is
            stopped early.
        seed: the seed of the default sampler. A search with a single worker is exactly
            reproducible. Each additional worker and each resumed search gets its own
            random stream.
        storage: None to keep the study in memory, a path to use a Journal file, or a
            URL to use a database (`postgresql+psycopg://user@host/name`,
            `sqlite:///file`). An Optuna storage is used as is. If the storage already
            contains a study called `name`, the search resumes it.
        name: the name of the study in the storage.

    To use several workers, run the same script several times with the same `storage`
    and `name`. On a single machine, a path is enough. Across machines, use a database
    that all of them can reach. If only one of them can reach it, put Optuna's gRPC
    proxy in front of the database and pass
    `storage=optuna.storages.GrpcStorageProxy(host="head-node", port=13000)`.

    To start the proxy, call `optuna.storages.run_grpc_proxy_server(RDBStorage(url),
    host="0.0.0.0", port=13000)` on the machine with the database. The proxy does not
    forward heartbeats, so a lost worker is detected only by another worker on the same
    machine.

    If a worker is killed, its trial is marked as failed and nothing else is lost. The
    configuration is requeued (at most twice) when a worker on the same machine starts
    up or begins a new trial. With a database, any worker requeues it after 90 s.

    Attributes:
        study: the underlying Optuna study, for use with Optuna's callbacks, dashboard,
            plots, and ask-and-tell interface. For ask-and-tell, call
            `trial = tuner.study.ask(tuner.space)` and then
            `tuner.study.tell(trial, values)`, with the objectives in the order of
            `minimize` followed by `maximize`. Set each limit with
            `trial.set_constraint(name, value - bound)`; a trial without a constraint is
            treated as exceeding that limit.

    Raises:
        ValueError: if the space is empty, an entry is invalid, a name is duplicated, or
            there is no objective.
        TypeError: if the objective, sampler, pruner or storage has the wrong type.
        TunerError: if the stored study has a different space or different objectives.
        StorageError: if the storage cannot be opened or written to.

    >>> from deepseek_learn import AutoTuner
    >>> def objective(config):
    ...     return {"error": (config["x"] - 0.3) ** 2, "cost": config["width"]}
    >>> space = {"x": (1e-3, 1.0, "log"), "width": [16, 32, 64]}
    >>> tuner = AutoTuner(objective, space, minimize=("error", "cost"), seed=0)
    >>> study = tuner.run(trials=20, progress=False)
    >>> len(study.trials), sorted(study.knee().config)
    (20, ['width', 'x'])

    A space in which only one optimizer has a momentum:

    >>> def conditional(trial):
    ...     kind = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    ...     trial.suggest_float("lr", 1e-4, 1, log=True)
    ...     if kind == "sgd":
    ...         trial.suggest_float("momentum", 0.5, 0.99)
    >>> def objective(trial):
    ...     return {"error": trial["lr"] + abs(trial.get("momentum", 0.5) - 0.9)}
    >>> tuner = AutoTuner(objective, conditional, minimize=["error"], seed=0)
    >>> study = tuner.run(trials=20, progress=False)
    >>> sorted(study.space)
    ['lr', 'momentum', 'optimizer']
    """

    def __init__(
        self,
        objective: Callable[[Trial], Mapping[str, Any]],
        space: Space,
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
        self._define = space if callable(space) else None
        self.goals = read_goals(minimize, maximize, limits, self.space)
        _check_parts(sampler, pruner, len(self.goals.names))
        self.sampler = sampler or _default_sampler(seed)
        backend = open_storage(storage)
        self.study = open_study(backend, name, self.goals, self.space, self.sampler)
        if isinstance(pruner, optuna.pruners.BasePruner):
            self.study.pruner = pruner

    def snapshot(self) -> Study:
        """Return the study so far, including trials from other workers."""
        return self._snapshot(end_reason="")

    def enqueue(self, config: Mapping[str, Any]) -> None:
        """Queue a configuration to try next, such as one that is known to work well.

        Hyperparameters missing from `config` are sampled. A configuration that has
        already been tried or queued is not queued again.

        Raises:
            ValueError: if a value lies outside the space. If the space is a function,
                the trial fails instead, and `Study.failures` shows why.
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
        """Run `trials` more trials, or run until another stopping criterion is met.

        A run also ends when every configuration in a finite space has been tried, or
        when you press Ctrl-C. After Ctrl-C, finished trials are kept, the running trial
        is marked as failed, and its configuration is requeued. `Study.why` explains why
        the run ended.

        Args:
            trials: the number of trials to run.
            seconds: stop starting new trials after this many seconds. A trial that is
                already running is allowed to finish.
            progress: whether to show a progress bar.
            patience: end the run after this many trials without a change in the front.
            timeout: the time limit for a single trial, in seconds. A trial that exceeds
                it is aborted and marked as failed.
            n_jobs: the number of trials to run concurrently, in threads of this process
                as in Optuna; -1 means one per core. The threads share the GPU, and
                after Ctrl-C their trials run to completion. Which results are available
                to each new trial depends on timing, so the search is not exactly
                reproducible.
            callbacks: functions to call as `callback(tuner.study, trial)` after each
                trial, where `trial` is Optuna's record of it. A callback can end the
                run by calling `study.stop()`.

        Raises:
            ValueError: if `trials`, `seconds` and `patience` are all None, or if a
                number is not positive.
            ObjectiveError: if the first results are missing an objective.
            TunerError: if the first three trials crash at the same line.
            StorageError: if the storage stops responding. Finished trials are kept.
        """
        trials, patience, n_jobs = check_run(trials, seconds, patience, timeout, n_jobs)
        reason = ""
        with quiet(), answering("the study"), progress_bar(trials, progress) as bar:
            shown = [advancing(bar)] if bar else []
            ending = Ending(self.space, seconds, patience, [*shown, *callbacks])
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
        """Run Optuna's own optimization loop, which also sends the heartbeats."""

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
                # Optuna rejects a result if another worker has failed the trial
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
        if self._define is not None and (wrong := misfits(optuna_trial)):
            reason = f"space(trial) does not accept the queued values of {wrong}"
            raise _note(optuna_trial, "wrong configuration", reason)
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
        # `_search` would mistake a ValueError or an AssertionError for a lost trial
        if self._define is not None:
            config = define(self._define, optuna_trial)
            try:
                check_names(self.goals, config)
            except ValueError as error:
                raise TunerError(str(error)) from None
            return config
        try:
            return {
                n: suggest(optuna_trial, n, entry) for n, entry in self.space.items()
            }
        except (ValueError, AssertionError) as error:
            raise TunerError(f"the sampler failed: {error}") from error

    def _snapshot(self, end_reason: str) -> Study:
        with answering("the study"):
            return Study.of(self.study, end_reason)


def _check_parts(sampler: Any, pruner: Any, objectives: int) -> None:
    if sampler is not None and not isinstance(sampler, optuna.samplers.BaseSampler):
        raise TypeError(f"sampler must be an Optuna sampler; got {sampler!r}.")
    is_optuna_pruner = isinstance(pruner, optuna.pruners.BasePruner)
    if is_optuna_pruner and objectives > 1:
        raise TypeError(
            f"pruner must be DominationPruner() or None with {objectives} objectives, "
            f"because Optuna's own pruners support only one; got {pruner!r}."
        )
    if (
        not is_optuna_pruner
        and pruner is not None
        and not callable(getattr(pruner, "report", None))
    ):
        raise TypeError(
            f"pruner must be an Optuna pruner, or have a method report(trial, step, "
            f"values) like DominationPruner; got {pruner!r}."
        )


class _TrialFailed(Exception):
    """Raised when a single trial fails, so that the search can continue.

    The reason for the failure is stored in the trial's user attributes.
    """


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
    from .seeding import SeededByPlace  # imports SciPy

    return SeededByPlace(seed)
