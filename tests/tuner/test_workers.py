"""Several workers on one study: real and killed processes, a real PostgreSQL."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest

from deepseek_learn.tuner import AutoTuner, Study, workers
from deepseek_learn.tuner.seeding import SeededByPlace, seed_at
from tests.tuner import postgres
from tests.tuner.worker_process import MINIMIZE, SPACE

pytestmark = pytest.mark.service

SCRIPT = Path(__file__).parent / "worker_process.py"
State = optuna.trial.TrialState


def begin(storage, trials=10, **options) -> subprocess.Popen:
    given = {"storage_url": str(storage), "trials": trials} | options
    command = [sys.executable, str(SCRIPT), json.dumps(given)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes)


def ended(*processes) -> list[dict]:
    answers = []
    for process in processes:
        out, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        answers.append(json.loads(out))
    return answers


def killed_in_a_trial(storage, tmp_path, hang_at=2, **options) -> dict:
    """The configuration of a worker that was killed by SIGKILL."""
    ready = tmp_path / f"ready-{time.monotonic_ns()}"
    process = begin(storage, 9, hang_at=hang_at, ready=str(ready), **options)
    while not ready.exists() or not ready.read_text():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    process.kill()
    process.wait()
    return json.loads(ready.read_text())


def check_two(storage) -> None:
    first, second = ended(begin(storage), begin(storage))
    assert first["tried"]
    assert second["tried"]
    assert sorted(first["tried"] + second["tried"]) == [*range(20)]
    study = Study.load(storage)
    configs = {n: s.config for n, s in enumerate(study.complete)}
    # each has its own random stream, from its first trial on
    assert configs[first["tried"][0]] != configs[second["tried"][0]]


def test_two_processes_on_one_journal(tmp_path):
    check_two(tmp_path / "s.journal")


@pytest.fixture(scope="module")
def database():
    with postgres.running() as url:
        yield url


def fresh(database: str, name: str) -> str:
    import sqlalchemy

    engine = sqlalchemy.create_engine(database, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return database.removesuffix("/postgres") + f"/{name}"


def test_two_processes_on_an_empty_postgresql(database):
    """They also create the tables at the same time."""
    check_two(fresh(database, "two"))


@pytest.mark.parametrize("kind", ["journal", "postgresql"])
def test_a_killed_workers_configuration_is_tried_again(kind, tmp_path, request):
    storage = tmp_path / "s.journal"
    if kind == "postgresql":
        storage = fresh(request.getfixturevalue("database"), "killed")
    lost = killed_in_a_trial(storage, tmp_path)
    assert [t.state for t in Study.load(storage).trials] == [State.COMPLETE] * 2
    ended(begin(storage, trials=2))
    study = Study.load(storage)
    failures = study.failures()
    assert failures["kind"].to_dict() == {2: "lost"}
    assert "its worker died during the trial (process" in failures["reason"][2]
    assert study.complete[2].config == lost
    assert study.complete[2].number == 3
    assert study.trials[3].user_attrs["retry_of"] == 2


def test_a_worker_that_goes_on_meets_another_ones_lost_trial(tmp_path):
    """Trials are rescued even if no new worker starts."""
    storage = tmp_path / "s.journal"
    seen = []

    def objective(trial):
        seen.append(dict(trial))
        if trial.number == 0:
            seen.append(killed_in_a_trial(storage, tmp_path, hang_at=0))
        return {"error": trial["x"], "latency_ms": trial["y"]}

    study = AutoTuner(objective, SPACE, MINIMIZE, storage=storage).run(
        2, progress=False
    )
    assert seen[2] == seen[1]
    assert study.failures()["kind"].to_dict() == {1: "lost"}


def test_on_another_machine_the_heartbeat_tells(database, tmp_path):
    storage = fresh(database, "far")
    lost = killed_in_a_trial(storage, tmp_path, host="far-away", beat=1)
    time.sleep(3)
    ended(begin(storage, trials=1, beat=1))
    study = Study.load(storage)
    assert study.failures()["kind"].to_dict() == {2: "lost"}
    assert study.complete[-1].config == lost


def test_a_configuration_that_kills_its_worker_is_given_up(tmp_path):
    storage = tmp_path / "s.journal"
    lost = [killed_in_a_trial(storage, tmp_path, hang_at=0) for _ in range(3)]
    assert lost[0] == lost[1] == lost[2]
    assert killed_in_a_trial(storage, tmp_path, hang_at=0) != lost[0]
    assert len(Study.load(storage).failures()) == workers.TRIES


def test_a_trial_taken_from_a_living_worker_is_dropped_and_it_goes_on():
    tuner = None

    def objective(trial):
        if trial.number == 1:  # as a rescuer does that presumes us dead
            assert workers.fail(tuner.study, trial.number)
        return {"error": trial["x"], "latency_ms": trial["y"]}

    tuner = AutoTuner(objective, SPACE, MINIMIZE)
    study = tuner.run(4, progress=False)
    assert [t.state for t in study.trials] == [
        State.COMPLETE,
        State.FAIL,
        State.COMPLETE,
        State.COMPLETE,
    ]


def note(**changed):
    return workers.identity() | changed


def test_who_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = workers._start_time(child.pid)
    alive = note(pid=child.pid, began=began)
    assert not workers.is_dead(workers.identity())
    assert not workers.is_dead(alive)
    assert workers.is_dead(alive | {"began": "1"})  # its process id was reused
    assert workers.is_dead(note(boot="another"))
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert workers.is_dead(alive)  # not yet waited for: a zombie
    child.communicate()
    assert workers.is_dead(alive)
    # undecidable from this process
    assert not workers.is_dead(alive | {"host": "far-away"})
    assert not workers.is_dead(alive | {"machine": "another"})
    assert not workers.is_dead(alive | {"namespace": "another container"})


def test_a_living_workers_trial_is_left_alone():
    study = optuna.create_study()
    study.ask().set_user_attr("worker", workers.identity())
    study.ask()  # its worker has not recorded its identity yet
    assert workers.rescue(study) == []
    assert [t.state for t in study.trials] == [State.RUNNING] * 2


def test_seeds_by_place():
    first, resumed = SeededByPlace(7), SeededByPlace(7)
    study = optuna.create_study(sampler=first)
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=3)
    study.sampler = resumed
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    assert (first._seed, resumed._seed) == (7, seed_at(7, 3))
    assert len({seed_at(s, n) for s in range(20) for n in range(20)}) == 400
