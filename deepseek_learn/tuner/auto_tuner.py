"""AutoTuner: search hyperparameters for several objectives at once, on Optuna.

Lesson: `notebooks/practical/01_auto_tuner.ipynb`.
"""

import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

from ..catalogue import text
from .engine import optuna, quiet
from .errors import ObjectiveError, TunerError
from .goals import not_finite, read_goals, read_returned
from .seeding import SeededByPlace
from .space import check_config, read_space, suggest
from .storage import Storage, answering, open_storage, open_study
from .study import Study
from .trial import NotFinite, Trial
from .workers import fail_own, identity, rescue

State = optuna.trial.TrialState
HOPELESS = 3  # that many first trials that crash at the same line end a search
TRACEBACK = 8000  # characters kept: some databases cut longer texts


class AutoTuner:
    """Finds the configurations that no other beats in every objective.

    Args:
        objective: `objective(trial) -> {name: number or Measured}`, with every
            objective and limit. Further names are notes: kept and shown, not optimised.
            `trial` is the configuration (`trial["lr"]`, `**trial`); `trial.report(epoch,
            error=…, …)` lets a pruner stop it.
        space: name → `[choices]`, `(low, high)` (whole numbers when both are),
            `(low, high, "log")`, or an Optuna distribution.
        minimise, maximise: the objectives.
        limits: name → upper bound of a returned number. Configurations within the
            limits come first, and only they are on the front.
        sampler: an Optuna sampler; by default `GeneticSampler`. One of your own keeps
            its own seed: give each worker another.
        pruner: `DominationPruner()`, or another with its `report`; None stops no trial
            early.
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

    Raises:
        ValueError: for an empty space, a bad entry, a name twice, no objective.
        TypeError: for an objective, sampler, pruner or storage that is none.
        TunerError: when the stored study has another space or other objectives.
        StorageError: when the storage cannot be opened or written.

    >>> tuner = AutoTuner(objective, {"lr": (1e-4, 1e-1, "log"), "width": [16, 32, 64]},
    ...     minimise=("error", "latency_ms"))                       # doctest: +SKIP
    >>> study = tuner.run(trials=60)                                # doctest: +SKIP
    >>> study.why(), study.plot(), study.knee().config              # doctest: +SKIP
    """

    def __init__(
        self,
        objective: Callable[[Trial], Mapping[str, Any]],
        space: Mapping[str, Any],
        minimise: Iterable[str] = ("error", "latency_ms", "energy_j"),
        maximise: Iterable[str] = (),
        limits: Mapping[str, float] | None = None,
        sampler: "optuna.samplers.BaseSampler | None" = None,
        pruner: Any = None,
        seed: int = 0,
        storage: Storage = None,
        name: str = "study",
    ):
        if not callable(objective):
            raise TypeError(f"objective must be a function; got {objective!r}.")
        _check_parts(sampler, pruner)
        self.objective, self.pruner = objective, pruner
        self.space = read_space(space)
        self.goals = read_goals(minimise, maximise, limits, self.space)
        self.sampler = sampler or SeededByPlace(_default_sampler, seed)
        kept_in = open_storage(storage)
        self._study = open_study(kept_in, name, self.goals, self.space, self.sampler)

    @property
    def study(self) -> Study:
        """What has been tried so far, other workers' trials too."""
        return self._snapshot(interrupted=False)

    def enqueue(self, config: Mapping[str, Any]) -> None:
        """Try this configuration next, such as one known to be good.

        Hyperparameters that it leaves out are drawn. One that was tried or queued
        already is not queued again.

        Raises:
            ValueError: for a value outside the space.
        """
        with quiet(), answering("the study"):
            fixed = check_config(self.space, config)
            self._study.enqueue_trial(fixed, skip_if_exists=True)

    def run(
        self,
        trials: int | None = None,
        seconds: float | None = None,
        progress: bool = True,
    ) -> Study:
        """Try `trials` further configurations, or go on until `seconds` have passed.

        The trial that runs when the time is over is finished. Ctrl-C ends the search
        too: finished trials are kept, the running one is failed, and the study says so.

        Raises:
            ValueError: when neither `trials` nor `seconds` is given, or one is no
                number above 0.
            ObjectiveError: when the first results lack an objective.
            TunerError: when the first three trials crash at the same line.
            StorageError: when the storage stops answering; finished trials are kept.
        """
        _check_end(trials, seconds)
        until = None if seconds is None else time.monotonic() + seconds
        interrupted = False
        with quiet(), answering("the study"), _bar(trials, progress) as bar:
            try:
                self._search(trials, until, bar)
            except KeyboardInterrupt:
                interrupted = True
                fail_own(self._study)
        return self._snapshot(interrupted)

    def _search(self, trials: int | None, until: float | None, bar: Any) -> None:
        tried: list[int] = []
        while trials is None or len(tried) < trials:
            if until is not None and time.monotonic() >= until:
                return
            rescue(self._study)
            self._one(tried)
            self._stop_if_hopeless(tried)
            if bar:
                study = self._snapshot(interrupted=False)
                bar.update(0, completed=len(tried), facts=_facts(study))

    def _one(self, tried: list[int]) -> None:
        """One trial, by Optuna's own loop: it sends the heartbeats."""

        def evaluate(running: "optuna.Trial") -> list[float]:
            tried.append(running.number)
            return self._evaluate(running)

        before = len(tried)
        try:
            self._study.optimize(evaluate, n_trials=1, catch=(_Failed,))
        except (ValueError, AssertionError):
            # Optuna refuses the result of a trial that another worker took for dead
            taken = len(tried) > before and self._state(tried[-1]) == State.FAIL
            if not taken:
                raise

    def _evaluate(self, running: "optuna.Trial") -> list[float]:
        running.set_user_attr("worker", identity())
        config = self._propose(running)
        trial = Trial(running, config, self.goals, self.pruner)
        try:
            returned = self.objective(trial)
            results = read_returned(self.goals, returned, self.space)
        except optuna.TrialPruned:
            raise
        except KeyboardInterrupt:
            _note(running, "interrupted", "Ctrl-C")
            raise
        except NotFinite as error:
            raise _note(running, "not finite", str(error)) from None
        except (Exception, SystemExit) as error:
            raise _note_crash(running, error) from None
        kept = {name: number.to_dict() for name, number in results.items()}
        running.set_user_attr("results", kept)
        if bad := not_finite(self.goals, results):
            raise _note(running, "not finite", str(NotFinite(bad)))
        for name, bound in self.goals.limits.items():
            running.set_constraint(name, results[name].value - bound)
        return [results[name].value for name in self.goals.names]

    def _propose(self, running: "optuna.Trial") -> dict[str, Any]:
        try:
            return {n: suggest(running, n, entry) for n, entry in self.space.items()}
        except (
            ValueError,
            AssertionError,
        ) as error:  # not to be taken for a lost worker
            raise TunerError(f"the sampler failed: {error}") from error

    def _stop_if_hopeless(self, tried: list[int]) -> None:
        """A search that cannot give results ends with a sentence, not after hours."""
        if len(tried) > HOPELESS:
            return
        every = self._study.get_trials(deepcopy=False)
        notes = [every[number].user_attrs.get("failure", {}) for number in tried]
        if any(trial.state == State.COMPLETE for trial in every):
            return
        if notes[-1].get("kind") == "wrong result":
            raise ObjectiveError(notes[-1]["reason"])
        places = {note.get("where") for note in notes}
        if len(notes) == HOPELESS and len(places) == 1 and None not in places:
            raise TunerError(
                f"the first {HOPELESS} trials all crashed at {places.pop()}: "
                f"{notes[-1]['reason']}"
            )

    def _state(self, number: int) -> "optuna.trial.TrialState":
        return self._study.get_trials(deepcopy=False)[number].state

    def _snapshot(self, interrupted: bool) -> Study:
        with answering("the study"):
            return Study.of(self._study, interrupted)


def _check_parts(sampler: Any, pruner: Any) -> None:
    if sampler is not None and not isinstance(sampler, optuna.samplers.BaseSampler):
        raise TypeError(f"sampler must be an Optuna sampler; got {sampler!r}.")
    if pruner is not None and not callable(getattr(pruner, "report", None)):
        raise TypeError(
            f"pruner must have report(trial, step, values), as DominationPruner has; "
            f"Optuna's own pruners take one objective only; got {pruner!r}."
        )


def _check_end(trials: int | None, seconds: float | None) -> None:
    if trials is None and seconds is None:
        raise ValueError("trials or seconds must be given; got neither.")
    whole = isinstance(trials, int) and not isinstance(trials, bool)
    if trials is not None and not (whole and trials > 0):
        raise ValueError(f"trials must be a whole number above 0; got {trials!r}.")
    if seconds is not None and not seconds > 0:
        raise ValueError(f"seconds must be above 0; got {seconds!r}.")


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
