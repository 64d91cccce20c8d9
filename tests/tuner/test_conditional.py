"""Spaces that are functions of a trial."""

import pytest

from deepseek_learn import AutoTuner
from deepseek_learn.tuner import Study, TunerError


def conditional(trial):
    kind = trial.suggest_categorical("optimizer", ["sgd", "adamw"])
    trial.suggest_float("lr", 1e-4, 1, log=True)
    if kind == "sgd":
        trial.suggest_float("momentum", 0.5, 0.99)


def objective(trial):
    """Best with sgd at a momentum of 0.9."""
    far = abs(trial["momentum"] - 0.9) if trial["optimizer"] == "sgd" else 0.3
    return {"error": far + abs(trial["lr"] - 0.1)}


def search(space=conditional, trials=40, **options):
    options = {"minimize": ["error"], "seed": 0} | options
    tuner = AutoTuner(objective, space, **options)
    return tuner, tuner.run(trials=trials, progress=False)


def test_only_what_a_trial_has_is_in_its_configuration():
    _, study = search()
    assert len(study.complete) == 40
    for each in study.complete:
        assert ("momentum" in each.config) == (each.config["optimizer"] == "sgd")
    assert [*study.space] == ["lr", "momentum", "optimizer"]
    best = study.best()
    assert best.config["optimizer"] == "sgd"
    assert best.results["error"].value < 0.1
    assert set(study.importances()["error"]) == {"lr", "momentum", "optimizer"}


def test_a_stored_search_resumes(tmp_path):
    path = tmp_path / "study.log"
    search(trials=5, storage=path)
    _, study = search(trials=5, storage=path)
    assert len(study.trials) == 10
    assert [*Study.load(path).space] == [*study.space]
    with pytest.raises(TunerError, match="different space"):
        search({"lr": (0.1, 1.0)}, storage=path)


def test_what_does_not_fit_is_said():
    with pytest.raises(TunerError, match=r"suggest at least one"):
        search(lambda trial: None)
    with pytest.raises(TunerError, match=r"raised ZeroDivisionError"):
        search(lambda trial: 1 / 0)
    with pytest.raises(TunerError, match=r"name of a hyperparameter .* \['error'\]"):
        search(lambda trial: trial.suggest_float("error", 0, 1))
    with pytest.raises(ValueError, match="or a function of a trial; got 3"):
        search(3)


@pytest.mark.parametrize(
    "config", [{"optimizer": "adamw", "momentum": 0.9}, {"lr": 7.0}, {"speed": 1}]
)
def test_a_queued_configuration_that_does_not_fit_fails_with_its_names(config):
    tuner = AutoTuner(objective, conditional, minimize=["error"], seed=0)
    tuner.enqueue(config)
    study = tuner.run(trials=2, progress=False)
    reason = study.failures()["reason"].iloc[0]
    assert reason.endswith(f"the queued values of {[[*config][-1]]}")
    assert len(study.complete) == 1


def test_a_queued_configuration_that_fits_is_tried_first():
    tuner = AutoTuner(objective, conditional, minimize=["error"], seed=0)
    tuner.enqueue({"optimizer": "sgd", "momentum": 0.9, "lr": 0.1})
    assert tuner.run(trials=1, progress=False).best().results["error"].value < 1e-9
