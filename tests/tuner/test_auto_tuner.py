"""AutoTuner: searches, and rejected arguments."""

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import optuna
import pytest
import torch

import deepseek_learn
from deepseek_learn.errors import DamagedFileError
from deepseek_learn.tuner import (
    AutoTuner,
    DominationPruner,
    Measured,
    ObjectiveError,
    StorageError,
    Study,
    TunerError,
    knee,
)

SPACE = {"width": [8, 16, 32], "lr": (1e-4, 1e-1, "log"), "depth": (1, 4)}
TWO = ("error", "latency_ms")


def trade(trial):
    """Wider is better and slower."""
    return {"error": 1 / trial["width"], "latency_ms": trial["width"] * trial["depth"]}


def search(objective=trade, space=SPACE, minimize=TWO, **options):
    return AutoTuner(objective, space, minimize, **options)


def run(objective=trade, trials=5, **options):
    return search(objective, **options).run(trials=trials, progress=False)


def test_it_is_public():
    assert deepseek_learn.AutoTuner is AutoTuner
    assert "tuner" in deepseek_learn.__all__


def test_naming_the_tuner_does_not_import_optuna():
    code = (
        "import sys, deepseek_learn.tuner\n"
        "assert 'optuna' not in sys.modules and 'torch' not in sys.modules\n"
        "deepseek_learn.tuner.Measured\n"
        "assert 'optuna' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_search_ends_in_a_study():
    study = run(trials=6)
    assert isinstance(study, Study)
    assert [trial.number for trial in study.trials] == [*range(6)]
    assert study.end_reason == ""
    assert study.front


def test_the_trial_is_its_configuration_and_read_only():
    seen = []

    def objective(trial):
        seen.append((trial.number, dict(**trial)))
        assert len(trial) == 3
        with pytest.raises(TypeError, match="does not support item assignment"):
            trial["lr"] = 1
        with pytest.raises(KeyError):
            trial["heads"]
        return trade(trial)

    study = run(objective)
    assert [number for number, _ in seen] == [*range(5)]
    assert [config for _, config in seen] == [s.config for s in study.complete]
    for _, config in seen:
        assert config["width"] in (8, 16, 32)
        assert 1e-4 <= config["lr"] <= 1e-1
        assert isinstance(config["depth"], int)
        assert 1 <= config["depth"] <= 4


def test_every_kind_of_entry_and_of_number():
    space = {
        "float": (0, 1.0),
        "step": optuna.distributions.FloatDistribution(0, 1, step=0.25),
        "log int": (1, 1000, "log"),
        "choice": [None, True, "a", 2.5],
        "constant": [3],
    }

    def objective(trial):
        assert isinstance(trial["float"], float)
        assert trial["step"] in (0, 0.25, 0.5, 0.75, 1)
        return {"a": torch.tensor(trial["float"]), "b": np.float32(1), "c": 1}

    study = AutoTuner(objective, space, ("a", "b"), ("c",)).run(5, progress=False)
    assert len(study.complete) == 5
    assert study.goals.names == ("a", "b", "c")


def test_maximized_and_minimized_find_opposite_ends():
    def objective(trial):
        return {"a": trial["x"], "b": trial["x"]}

    space = {"x": [1, 2, 3]}
    configs = [{"x": x} for x in (1, 2, 3)]

    def best(**goals):
        tuner = AutoTuner(objective, space, **goals)
        for config in configs:
            tuner.enqueue(config)
        return [s.config["x"] for s in tuner.run(3, progress=False).front]

    assert best(minimize=("a", "b")) == [1]
    assert best(minimize=(), maximize=("a", "b")) == [3]
    assert sorted(best(minimize=("a",), maximize=("b",))) == [1, 2, 3]


def test_the_same_seed_searches_alike_and_another_does_not():
    def configs(seed):
        return [s.config for s in run(trials=12, seed=seed).complete]

    assert configs(0) == configs(0)
    assert configs(0) != configs(1)


def test_a_sampler_of_ones_own_is_used():
    space = {"x": optuna.distributions.IntDistribution(0, 3)}
    sampler = optuna.samplers.GridSampler({"x": [0, 1, 2, 3]}, seed=0)
    study = AutoTuner(
        lambda trial: {"a": trial["x"]}, space, ("a",), sampler=sampler
    ).run(4, progress=False)
    assert sorted(s.config["x"] for s in study.complete) == [0, 1, 2, 3]


def test_known_configurations_come_first_and_once():
    tuner = search()
    known = {"width": 16, "lr": 0.01, "depth": 2}
    tuner.enqueue(known)
    tuner.enqueue(known)
    tuner.enqueue({"width": 8})
    study = tuner.run(3, progress=False)
    first, second, _ = study.complete
    assert first.config == known
    assert second.config["width"] == 8
    assert sum(s.config == known for s in study.complete) == 1


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"heads": 2}, "'heads', which is not in the space"),
        ({"width": 12}, r"config\['width'\] must be in .*; got 12"),
        ({"lr": 1.0}, r"config\['lr'\] must be in .*; got 1.0"),
        ({"depth": 1.5}, r"config\['depth'\] must be in .*; got 1.5"),
        ({"width": True}, r"config\['width'\] must be in .*; got True"),
        ({"lr": "0.01"}, r"config\['lr'\] must be in .*; got '0.01'"),
        ({}, "at least one hyperparameter"),
    ],
)
def test_enqueue_refuses_what_is_outside_the_space(config, said):
    with pytest.raises(ValueError, match=said):
        search().enqueue(config)


def test_seconds_end_a_search(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) * 10.0)
    # trials at 10, 20, 30 s; the run ends at 40 s
    study = search().run(seconds=35, progress=False)
    assert len(study.trials) == 3


@pytest.mark.parametrize("trials", [0, -1, 2.5, True])
def test_run_refuses_other_counts(trials):
    with pytest.raises(ValueError, match="trials must be a whole number above 0; got"):
        search().run(trials)
    with pytest.raises(ValueError, match="seconds must be above 0; got 0"):
        search().run(5, seconds=0)


def test_run_must_know_when_to_end():
    with pytest.raises(ValueError, match="trials, seconds or patience must be given"):
        search().run()


def test_a_second_run_goes_on():
    tuner = search()
    tuner.run(3, progress=False)
    assert len(tuner.run(2, progress=False).trials) == 5
    assert len(tuner.snapshot().trials) == 5


def test_limits_are_told_to_optuna_and_keep_the_front():
    def objective(trial):
        return trade(trial) | {"size_mib": trial["width"]}

    tuner = search(objective, limits={"size_mib": 16})
    for width in (8, 16, 32):
        tuner.enqueue({"width": width})
    study = tuner.run(3, progress=False)
    assert [t.constraints for t in study.trials] == [
        {"size_mib": pytest.approx(w - 16)} for w in (8, 16, 32)
    ]
    assert {s.config["width"] for s in study.feasible} == {8, 16}
    assert {s.config["width"] for s in study.front} <= {8, 16}
    assert study.to_frame()["feasible"].tolist() == [True, True, False]


def test_a_limit_may_be_an_objective_and_notes_are_kept():
    def objective(trial):
        return trade(trial) | {"epochs": 3, "auc": float("nan")}

    study = run(objective, limits={"latency_ms": 40})
    assert len(study.complete) == 5
    assert (study.to_frame()["epochs"] == 3).all()
    assert study.to_frame()["auc"].isna().all()
    assert all(s.results["latency_ms"] <= 40 for s in study.front)
    assert "epochs" not in study.goals.names


def test_measured_results_keep_interval_and_source():
    def objective(trial):
        energy = Measured(2.0, 1.5, 2.5, "J", "rapl")
        return trade(trial) | {"energy_j": energy}

    goals = ("error", "latency_ms", "energy_j")
    study = AutoTuner(objective, SPACE, goals).run(2, progress=False)
    assert study.complete[1].results["energy_j"] == Measured(2, 1.5, 2.5, "J", "rapl")


def fail_at(number, error=KeyboardInterrupt):
    def objective(trial):
        if trial.number == number:
            raise error
        return trade(trial)

    return objective


def test_a_configuration_that_was_queued_and_interrupted_is_queued_whole():
    tuner = search(fail_at(0))
    tuner.enqueue({"width": 16, "lr": 0.01})
    lost = tuner.run(1, progress=False).trials[0].params
    assert tuner.run(1, progress=False).complete[0].config == lost
    assert (lost["width"], lost["lr"]) == (16, 0.01)


def test_ctrl_c_is_no_try_of_three():
    """Unlike a worker's death, Ctrl-C says nothing against the configuration."""
    stops = iter([True] * 5)

    def objective(trial):
        if next(stops, False):
            raise KeyboardInterrupt
        return trade(trial)

    tuner = search(objective)
    for _ in range(5):
        tuner.run(1, progress=False)
    study = tuner.run(1, progress=False)
    assert len({tuple(t.params.values()) for t in study.trials}) == 1
    assert [t.state.name for t in study.trials] == ["FAIL"] * 5 + ["COMPLETE"]


def test_the_optuna_study_is_public():
    tuner = search(limits={"error": 0.1})
    assert isinstance(tuner.study, optuna.Study)
    trial = tuner.study.ask(tuner.space)
    assert set(trial.params) == set(SPACE)
    trial.set_constraint("error", 0.05 - 0.1)
    tuner.study.tell(trial, (0.05, 7.0))
    silent, infinite = tuner.study.ask(tuner.space), tuner.study.ask(tuner.space)
    tuner.study.tell(silent, (0.01, 9.0))
    tuner.study.tell(infinite, (0.01, float("inf")))
    study = tuner.run(3, progress=False)
    assert study.trials[0].state.name == "COMPLETE"
    assert study.complete[0].config == trial.params
    assert study.complete[0].results == {"error": Measured(0.05)} | {
        "latency_ms": Measured(7)
    }
    assert [s.number for s in study.complete] == [0, 1, 3, 4, 5]
    assert 0 in [s.number for s in study.front]
    # `error` is an objective, so its limit is known for the silent trial too
    assert 1 in [s.number for s in study.front]
    assert study.to_frame().loc[0, "latency_ms"] == 7


def test_a_limit_that_nobody_told_counts_as_broken():
    tuner = search(limits={"size": 10})
    known = {"far": 30.0, "near": 12.0, "kept": 9.0}
    for size in [*known.values(), None]:
        trial = tuner.study.ask(tuner.space)
        if size is not None:
            trial.set_constraint("size", size - 10)
        tuner.study.tell(trial, (0.5, 5.0))
        if size == 12:
            assert "trial 1 came closest, with size 12" in tuner.snapshot().why()
    study = tuner.snapshot()
    assert [s.number for s in study.feasible] == [2]
    assert study.complete[0].results["size"] == Measured(30)
    assert "size" not in study.complete[3].results


def test_callbacks_are_optunas_and_can_stop_a_run():
    seen = []

    def callback(study, trial):
        seen.append(trial.number)
        assert study is tuner.study
        assert trial.state.is_finished()
        if trial.number == 2:
            study.stop()

    tuner = search()
    assert len(tuner.run(9, progress=False, callbacks=[callback]).trials) == 3
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_an_error_in_a_callback_is_raised(n_jobs):
    def callback(study, trial):
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        search().run(2, progress=False, callbacks=[callback], n_jobs=n_jobs)


def test_n_jobs_runs_trials_at_a_time():
    both = threading.Barrier(2)

    def objective(trial):
        both.wait(timeout=60)  # raises BrokenBarrierError if the other never arrives
        return trade(trial)

    study = search(objective).run(8, progress=False, n_jobs=2)
    assert len(study.complete) == 8
    assert len({tuple(s.config.values()) for s in study.complete}) == 8
    assert len(search().run(3, progress=False, n_jobs=-1).complete) == 3
    for n_jobs in (0, -2, 1.5, True):
        with pytest.raises(ValueError, match="n_jobs must be a whole number above 0"):
            search().run(3, n_jobs=n_jobs)


def test_an_objective_that_cannot_work_ends_threads_too():
    with pytest.raises(ObjectiveError, match="are missing"):
        search(lambda trial: {"error": 1}).run(2, progress=False, n_jobs=2)


def test_a_trial_that_takes_too_long_is_failed_and_the_search_goes_on():
    def objective(trial):
        if trial.number == 1:
            time.sleep(60)
        return trade(trial)

    began = time.monotonic()
    study = search(objective).run(3, progress=False, timeout=0.2)
    assert time.monotonic() - began < 50
    assert study.failures()["kind"].to_dict() == {1: "timeout"}
    assert study.failures()["reason"].to_dict() == {1: "it took longer than 0.2 s"}
    assert len(study.complete) == 2
    with pytest.raises(ValueError, match="timeout must be above 0; got 0"):
        search().run(3, timeout=0)


def test_optunas_own_pruners_work_with_one_objective():
    def objective(trial):
        value = trial["x"]
        for epoch in (1, 2, 3):
            trial.report(epoch, error=value)
        return {"error": value}

    space = {"x": optuna.distributions.FloatDistribution(0, 9)}
    pruner = optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=2)
    tuner = AutoTuner(objective, space, ("error",), pruner=pruner)
    for x in (1, 2, 3, 9, 0):
        tuner.enqueue({"x": x})
    study = tuner.run(5, progress=False)
    states = [t.state.name for t in study.trials]
    assert states == ["COMPLETE"] * 3 + ["PRUNED", "COMPLETE"]
    assert study.trials[3].user_attrs["pruned_at"] == 2
    assert study.trials[0].intermediate_values == {1: 1, 2: 1, 3: 1}
    for other in (
        optuna.pruners.HyperbandPruner(1, 3),
        optuna.pruners.SuccessiveHalvingPruner(),
        optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(), 1),
    ):
        tuner = AutoTuner(objective, space, ("error",), pruner=other)
        study = tuner.run(14, progress=False)
        assert len(study.trials) == 14
        assert len(study.failures()) == 0


def test_without_a_pruner_nothing_is_pruned():
    """Optuna's own default is its median pruner."""

    def objective(trial):
        trial.report(1, error=trial.number)
        return {"error": trial.number}

    study = AutoTuner(objective, SPACE, ("error",)).run(12, progress=False)
    assert len(study.complete) == 12


@pytest.mark.slow
def test_conditional_hyperparameters():
    def objective(trial):
        assert len(trial) == 2
        if trial["kind"] == "sgd":
            momentum = trial.suggest("momentum", (0.5, 0.9))
            assert 0.5 <= momentum <= 0.9
            assert trial.suggest("momentum", (0.5, 0.9)) == momentum
            assert trial["momentum"] == momentum
            assert dict(trial)["momentum"] == momentum
        return {"error": trial.get("momentum", 0.7), "cost": trial["lr"]}

    space = {"kind": ["sgd", "adam"], "lr": (0.1, 1.0)}
    tuner = AutoTuner(objective, space, ("error", "cost"))
    for kind in ("sgd", "adam"):
        tuner.enqueue({"kind": kind})
    study = tuner.run(20, progress=False)
    assert len(study.complete) == 20
    for solution in study.complete:
        assert ("momentum" in solution.config) == (solution.config["kind"] == "sgd")
    frame = study.to_frame()
    assert (frame["momentum"].isna() == (frame["kind"] == "adam")).all()
    study.why(), study.plot(), study.importances()


@pytest.mark.parametrize(
    ("name", "entry", "said"),
    [
        ("lr", (0.1, 1.0), "name must not be in use already; got 'lr'"),
        ("error", (0.1, 1.0), "name must not be in use already; got 'error'"),
        ("size", (0.1, 1.0), "name must not be in use already; got 'size'"),
        ("state", (0.1, 1.0), "name must not be in use already; got 'state'"),
        ("momentum", 0.9, r"space\['momentum'\] must be a list of choices"),
    ],
)
def test_suggest_refuses_names_that_are_taken_and_bad_entries(name, entry, said):
    def objective(trial):
        with pytest.raises(ValueError, match=said):
            trial.suggest(name, entry)
        return trade(trial) | {"size": 1}

    assert len(run(objective, trials=1, limits={"size": 2}).complete) == 1


def test_a_result_may_not_have_the_name_of_a_conditional_hyperparameter():
    def objective(trial):
        return trade(trial) | {"momentum": trial.suggest("momentum", (0.1, 0.9))}

    with pytest.raises(ObjectiveError, match="must not return 'momentum', which is"):
        run(objective, trials=1)


def test_numpys_numbers_are_numbers(tmp_path):
    space = {"width": [*np.array([8, 16])], "depth": tuple(np.arange(1, 3))}
    space |= {"lr": (np.float64(0.1), np.float32(1)), "bias": [np.bool_(True)]}
    tuner = search(
        space=space, seed=np.int64(3), storage=tmp_path / "s.journal",
        limits={"error": np.float32(1)},
    )  # fmt: skip
    tuner.enqueue({"width": np.int64(16), "depth": np.int32(2), "lr": np.float32(0.5)})
    study = tuner.run(np.int64(3), progress=False, n_jobs=np.int8(1))
    assert study.complete[0].config == {
        "width": 16, "depth": 2, "lr": 0.5, "bias": True
    }  # fmt: skip
    assert len(tuner.run(patience=np.int64(1), trials=1, progress=False).trials) == 4
    plain = search(space=space, seed=3).run(1, progress=False)
    assert (
        search(space=space, seed=np.int64(3)).run(1, progress=False).complete[0].config
        == plain.complete[0].config
    )


LARGE = 1.7e308


def test_values_near_the_largest_float_are_no_trouble():
    def objective(trial):
        error = (2 * trial["x"] - 1) * LARGE
        for epoch in (1, 2):
            trial.report(epoch, error=-error, latency_ms=-LARGE * trial["x"])
        sign = 1 if trial["x"] < 0.2 else -1
        return {"error": error, "latency_ms": -error * trial["y"], "size": sign * LARGE}

    space = {"x": (0.0, 1.0), "y": (0.5, 1.0)}
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        pruner = DominationPruner(rungs=(2,))
        study = search(
            objective, space, pruner=pruner, limits={"size": -LARGE / 2}
        ).run(25, progress=False)
        assert len(study.failures()) == 0
        assert len(study.front) > 1
        assert 0 < study.hypervolume() <= 1
        assert study.history().iloc[-1] == pytest.approx(study.hypervolume())
        assert np.isfinite(list(study.importances()["error"].values())).all()
        small = np.ldexp(study.losses(study.front), -1000)  # exact
        assert study.front.index(study.knee()) == knee(small)
        assert study.best({"error": LARGE}) == study.front[0]


class StopAt:
    """A pruner that stops every trial at one epoch, and records the reports."""

    def __init__(self, epoch):
        self.epoch, self.told = epoch, []

    def report(self, trial, step, values):
        self.told.append((trial.number, step, list(values)))
        return step == self.epoch


def test_a_pruner_stops_a_trial():
    def objective(trial):
        for epoch in (1, 2, 3):
            trial.report(epoch, latency_ms=5, error=1 / epoch)
        return trade(trial)

    pruner = StopAt(2)
    study = run(objective, trials=2, pruner=pruner)
    assert pruner.told[:2] == [(0, 1, [1.0, 5.0]), (0, 2, [0.5, 5.0])]
    assert [t.state.name for t in study.trials] == ["PRUNED", "PRUNED"]
    assert study.to_frame()["state"].tolist() == ["pruned", "pruned"]
    assert len(study.failures()) == 0
    assert len(run(objective, trials=2, pruner=StopAt(9)).complete) == 2
    assert len(run(objective, trials=2).complete) == 2


def test_a_report_refuses_other_names():
    with pytest.raises(ObjectiveError, match=r"report must name .*; got \['loss'\]"):
        run(lambda trial: trial.report(1, loss=2), trials=1)


def test_nan_in_a_report_or_a_result_fails_the_trial_with_the_reason():
    def objective(trial):
        if trial.number == 0:
            trial.report(2, error=float("nan"), latency_ms=1)
        bad = {1: float("nan"), 2: float("inf"), 3: Measured(float("nan"))}
        return trade(trial) | {"error": bad.get(trial.number, 1)}

    study = run(objective)
    assert study.failures()["kind"].tolist() == ["not finite"] * 4
    assert study.failures()["reason"].tolist() == [
        "error is nan at epoch 2",
        "error is nan",
        "error is inf",
        "error is nan",
    ]
    assert len(study.complete) == 1


def test_a_crash_is_kept_with_its_traceback_and_the_search_goes_on():
    def objective(trial):
        if trial.number == 1:
            raise RuntimeError("no kernel for this width")
        if trial.number == 2:
            sys.exit("bye")
        return trade(trial)

    study = run(objective)
    failures = study.failures()
    assert failures.index.tolist() == [1, 2]
    assert failures["kind"].tolist() == ["crash", "crash"]
    assert failures["reason"].tolist() == [
        "RuntimeError: no kernel for this width",
        "SystemExit: bye",
    ]
    assert 'raise RuntimeError("no kernel for this width")' in failures["traceback"][1]
    assert failures["width"].tolist() == [t.params["width"] for t in study.trials[1:3]]
    assert len(study.complete) == 3


def test_three_first_crashes_at_the_same_line_end_the_search():
    calls = []

    def objective(trial):
        calls.append(trial.number)
        raise KeyError(f"label {trial.number}")

    with pytest.raises(TunerError, match=r"first 3 trials all crashed at .*: KeyError"):
        run(objective, trials=50)
    assert calls == [0, 1, 2]


def test_different_first_crashes_do_not_end_it():
    def objective(trial):
        if trial.number == 0:
            raise ValueError("a")
        if trial.number <= 2:
            raise ValueError("b")
        return trade(trial)

    assert len(run(objective).complete) == 2


def test_crashes_after_a_result_do_not_end_it():
    def objective(trial):
        if trial.number:
            raise ValueError("a")
        return trade(trial)

    assert len(run(objective, trials=6).failures()) == 5


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ({"error": 1}, r"\['latency_ms'\] are missing from \['error'\]"),
        ({"eror": 1, "latency_ms": 1}, r"\['error'\] are missing from \['eror', 'lat"),
        (0.5, "must return a dictionary with .*; got 0.5"),
        (None, "must return a dictionary with .*; got None"),
        ({"error": "low", "latency_ms": 1}, "must return numbers; got 'low' for 'err"),
        ({"error": "1", "latency_ms": 1}, "must return numbers; got '1' for 'error'"),
        ({"error": [1, 2], "latency_ms": 1}, "got .1, 2. for 'error'"),
        (
            {"error": 1, "latency_ms": 1, "lr": 1},
            "must not return 'lr', which is the name of a hyperparameter",
        ),
    ],
)
def test_a_wrong_first_answer_ends_the_search_at_once(returned, said):
    calls = []

    def objective(trial):
        calls.append(trial.number)
        return returned

    with pytest.raises(ObjectiveError, match=said):
        run(objective, trials=50)
    assert calls == [0]


def test_a_wrong_later_answer_fails_its_trial():
    study = run(lambda trial: trade(trial) if trial.number != 2 else {"error": 1})
    assert study.failures()["kind"].to_dict() == {2: "wrong result"}
    assert len(study.complete) == 4


def test_an_error_of_the_sampler_is_not_taken_for_a_lost_worker():
    class Broken(optuna.samplers.RandomSampler):
        def sample_independent(self, *drawn):
            raise ValueError("no such thing")

    with pytest.raises(TunerError, match="the sampler failed: no such thing"):
        run(sampler=Broken())


def test_an_infinite_limit_is_refused():
    with pytest.raises(ValueError, match=r"limits\['size'\] must be a finite number"):
        search(limits={"size": float("inf")})


def test_enqueue_minds_the_steps():
    stepped = optuna.distributions.FloatDistribution(0, 1, step=0.25)
    tuner = AutoTuner(lambda trial: {"a": trial["x"]}, {"x": stepped}, ("a",))
    tuner.enqueue({"x": 0.75})
    with pytest.raises(ValueError, match=r"config\['x'\] must be in"):
        tuner.enqueue({"x": 0.1})
    thirds = optuna.distributions.IntDistribution(1, 7, step=3)
    tuner = AutoTuner(lambda trial: {"a": trial["x"]}, {"x": thirds}, ("a",))
    tuner.enqueue({"x": 4})
    with pytest.raises(ValueError, match=r"config\['x'\] must be in"):
        tuner.enqueue({"x": 3})


def test_a_missing_limit_is_a_missing_result():
    with pytest.raises(ObjectiveError, match=r"\['size_mib'\] are missing"):
        run(limits={"size_mib": 30})


@pytest.fixture
def ctrl_c():
    """SIGINT raises KeyboardInterrupt: a shell starts background jobs without that."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


def test_ctrl_c_keeps_what_had_finished(tmp_path, ctrl_c):
    path = tmp_path / "search.journal"

    def objective(trial):
        if trial.number == 3:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        return trade(trial)

    tuner = search(objective, storage=path)
    study = tuner.run(trials=9, progress=False)
    assert study.end_reason == "interrupted"
    assert len(study.complete) == 3
    assert study.failures()["kind"].to_dict() == {3: "interrupted"}
    assert study.why().startswith("The search was interrupted")
    again = search(storage=path).run(trials=2, progress=False)
    assert len(again.complete) == 5
    assert again.end_reason == ""
    assert again.trials[4].params == study.trials[3].params  # queued again
    assert again.trials[4].user_attrs["retry_of"] == 3
    assert again.trials[5].params != study.trials[3].params  # once


def test_ctrl_c_between_trials_leaves_nothing_running(monkeypatch):
    tuner = search()

    def sample(*arguments):
        raise KeyboardInterrupt

    tuner.run(1, progress=False)
    monkeypatch.setattr(tuner.sampler, "sample_relative", sample)
    monkeypatch.setattr(tuner.sampler, "sample_independent", sample)
    monkeypatch.setattr(tuner.sampler, "infer_relative_search_space", sample)
    study = tuner.run(5, progress=False)
    assert study.end_reason == "interrupted"
    assert [t.state.name for t in study.trials] == ["COMPLETE", "FAIL"]


def test_the_bar_shows_progress_and_can_be_silent(capsys):
    search().run(3)
    assert "on the front" in capsys.readouterr().out
    run()
    assert capsys.readouterr() == ("", "")


def test_optuna_is_quiet_and_left_as_it_was(capfd):
    before = optuna.logging.get_verbosity()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        run(
            lambda trial: (
                trade(trial) | ({"error": float("nan")} if trial.number else {})
            )
        )
    assert caught == []
    assert capfd.readouterr().err == ""
    assert optuna.logging.get_verbosity() == before


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "at least one hyperparameter"),
        (None, "at least one hyperparameter"),
        ({"lr": 0.1}, r"space\['lr'\] must be a list of choices, .*; got 0.1"),
        ({"lr": []}, "at least one choice and no duplicates"),
        ({"lr": [1, 2, 1]}, "no duplicates"),
        ({"lr": [1, True]}, "no duplicates"),
        ({"act": [torch.relu]}, "choices must be strings, numbers"),
        ({"lr": (1,)}, "must be a list of choices"),
        ({"act": ("relu", "gelu")}, "must be a list of choices"),
        ({"lr": (1, 2, "lin")}, "must be a list of choices"),
        ({"lr": (1, 2, 3)}, "must be a list of choices"),
        ({"lr": (1, "x")}, "must be a list of choices"),
        ({"lr": (2, 1)}, "must have low < high"),
        ({"lr": (2, 2)}, "must have low < high"),
        ({"lr": (-1.7e308, 1.7e308)}, "both finite with a finite difference"),
        ({"lr": (0, 1, "log")}, 'low above 0 with "log"'),
        ({"lr": (0, float("inf"))}, "both finite"),
        ({"lr": (float("nan"), 1)}, "low < high"),
        ({3: [1]}, "must be nonempty strings; got 3"),
    ],
)
def test_a_bad_space_is_refused(space, said):
    with pytest.raises(ValueError, match=said):
        search(space=space)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"minimize": ()}, "at least one objective; got none"),
        ({"seed": 1.0}, "seed must be a whole number of at least 0; got 1.0"),
        ({"minimize": "error"}, "minimize must be a tuple of names; got 'error'"),
        ({"minimize": (1,)}, r"minimize must be a tuple of names; got \(1,\)"),
        ({"minimize": ("a", "b", "a")}, r"got \['a'\] twice"),
        ({"minimize": ("a",), "maximize": ("a",)}, r"got \['a'\] twice"),
        ({"minimize": ("lr",)}, r"column in the study's table; got \['lr'\]"),
        ({"minimize": ("state",)}, r"column in the study's table; got \['state'\]"),
        (
            {"limits": {"size": "30"}},
            r"limits\['size'\] must be a finite number; got '30'",
        ),
        (
            {"limits": {"size": float("nan")}},
            r"limits\['size'\] must be a finite number",
        ),
        ({"seed": -1}, "seed must be a whole number of at least 0; got -1"),
    ],
)
def test_bad_goals_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        search(**options)


def test_the_objectives_have_no_default():
    with pytest.raises(ValueError, match="must name at least one objective"):
        AutoTuner(trade, SPACE)
    tuner = AutoTuner(trade, SPACE, maximize=("error",))
    assert tuner.goals.names == ("error",)


def test_parts_must_be_what_they_are_called():
    with pytest.raises(TypeError, match="objective must be a function; got None"):
        search(None)
    with pytest.raises(TypeError, match="sampler must be an Optuna sampler; got 'ga'"):
        search(sampler="ga")
    with pytest.raises(TypeError, match="Optuna's own pruners support only one"):
        search(pruner=optuna.pruners.MedianPruner())
    with pytest.raises(TypeError, match="pruner must be an Optuna pruner, or have a m"):
        search(pruner="median")


@pytest.mark.slow
@pytest.mark.parametrize("url", [False, True])
def test_a_study_is_resumed_by_its_name(tmp_path, url):
    storage = f"sqlite:///{tmp_path}/s.db" if url else tmp_path / "new" / "s.journal"
    assert len(run(storage=storage, trials=2).trials) == 2
    resumed = run(storage=storage, trials=3)
    assert [t.number for t in resumed.trials] == [*range(5)]
    assert len(run(storage=storage, trials=1, name="other").trials) == 1
    configs = [s.config for s in resumed.complete]
    assert configs[0] not in configs[2:]  # the random stream does not restart


def test_a_study_is_not_resumed_with_another_space_or_other_goals(tmp_path):
    storage = tmp_path / "s.journal"
    run(storage=storage, limits={"error": 1})
    wider = SPACE | {"width": [8, 16], "lr": (1e-5, 1e-1, "log"), "act": ["relu"]}
    with pytest.raises(TunerError, match="a different space") as refused:
        search(space=wider, storage=storage, limits={"error": 1})
    assert str(refused.value) == (
        "study 'study' was created with a different space (act was absent, now ['relu']; "
        "lr was (0.0001, 0.1, 'log'), now (1e-05, 0.1, 'log'); width was [8, 16, 32], now "
        "[8, 16]). Choose a different name."
    )
    with pytest.raises(TunerError, match=r"was created with .*error.*be resumed with"):
        search(minimize=("error",), storage=storage, limits={"error": 1})
    with pytest.raises(TunerError, match=r"limits=\{'error': 1.0\}; it cannot be"):
        search(storage=storage)


def test_a_study_of_somebody_else_is_refused(tmp_path):
    path = f"sqlite:///{tmp_path}/s.db"
    study = optuna.create_study(storage=path, study_name="study")
    study.add_trial(optuna.create_trial(value=1.0))
    with pytest.raises(TunerError, match="was not created by AutoTuner"):
        search(storage=path)


def test_an_optuna_storage_is_taken_as_it_is():
    storage = optuna.storages.InMemoryStorage()
    run(storage=storage, trials=2)
    assert len(run(storage=storage, trials=2).trials) == 4


def test_a_storage_of_another_kind_is_refused(tmp_path):
    with pytest.raises(TypeError, match="storage must be None, a path"):
        search(storage=3)
    with pytest.raises(StorageError, match="is a folder"):
        search(storage=tmp_path)
    database = tmp_path / "s.db"
    run(storage=f"sqlite:///{database}", trials=1)
    with pytest.raises(StorageError, match=r"write  storage='sqlite:///.*s\.db'"):
        search(storage=database)


@pytest.mark.parametrize("tail", ["not a journal\n", '{"op_code": 4, "wor', "[3]\n"])
def test_a_damaged_journal_is_refused_and_left_as_it_is(tmp_path, tail):
    path = tmp_path / "s.journal"
    run(storage=path, trials=1)
    whole = path.read_text()
    path.write_text(whole + tail)
    line = len(whole.splitlines()) + 1
    with pytest.raises(DamagedFileError, match=f"line {line} is not a valid entry"):
        search(storage=path)
    assert path.read_text() == whole + tail
    path.write_text(whole)
    assert len(run(storage=path, trials=1).trials) == 2


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs Linux's /proc")
def test_a_storage_that_cannot_be_written_is_refused():
    with pytest.raises(StorageError, match="cannot be used: "):
        search(storage="/proc/search.journal")
    with pytest.raises(StorageError, match="cannot be opened: unable to open"):
        search(storage="sqlite:////proc/search.db")


def test_a_locked_database_is_refused_or_ends_the_search(tmp_path):
    url = f"sqlite:///{tmp_path}/s.db?timeout=0.1"
    run(storage=url, trials=1)
    other = sqlite3.connect(tmp_path / "s.db", isolation_level=None)

    def objective(trial):
        other.execute("BEGIN EXCLUSIVE")
        return trade(trial)

    tuner = search(objective, storage=url)
    with pytest.raises(StorageError, match=r"database is locked"):
        tuner.run(3, progress=False)
    with pytest.raises(StorageError, match=r"database is locked"):
        search(storage=url)
    other.rollback()
    assert len(Study.load(url).complete) == 1


@pytest.mark.slow
def test_a_lock_that_a_dead_worker_left_does_not_last(tmp_path, monkeypatch):
    monkeypatch.setattr("deepseek_learn.tuner.storage.LOCK_GRACE_S", 3)
    path = tmp_path / "s.journal"
    run(storage=path, trials=1)
    os.symlink(path, f"{path}.lock")
    assert len(run(storage=path, trials=1).trials) == 2


def test_a_database_out_of_reach_is_one_sentence_without_the_password():
    url = "postgresql+psycopg://user:secret@127.0.0.1:1/none"
    with pytest.raises(StorageError) as refused:
        search(storage=url)
    assert "127.0.0.1:1" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert len(str(refused.value).splitlines()) == 1


def test_a_driver_that_is_missing_is_named():
    with pytest.raises(StorageError, match=r'pip install "psycopg\[binary\]"'):
        search(storage="postgresql+pg8000://user@host/none")
    with pytest.raises(StorageError, match="cannot be opened"):
        search(storage="nonsense://")
