"""Server and hospitals as processes: the same model, and every failure as documented.

One federation serves all tests, in this order, since each process takes seconds to start.
"""

import json
import subprocess
import sys
import time

import pytest
from safetensors.torch import load_file

from tests import services

services.need("flwr")
WITHOUT_SPACE = pytest.mark.skipif(
    " " in sys.prefix,
    reason="Flower 1.42 creates no tables if its environment's path contains a space",
)

from deepseek_learn.solutions.federated.certificates import (  # noqa: E402
    write_certificates,
)
from deepseek_learn.solutions.federated.local import simulate  # noqa: E402
from deepseek_learn.solutions.federated.server import RECORD, STATE  # noqa: E402

from .cases import save_hospitals  # noqa: E402
from .federation import Federation, wait  # noqa: E402

QUICK = {"steps": 3, "patients": 4}
pytestmark = [WITHOUT_SPACE, pytest.mark.in_turn, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("federation")


@pytest.fixture(scope="module")
def sites(place):
    return save_hospitals(place)


@pytest.fixture(scope="module")
def federation(place, sites):
    with Federation(place) as running:
        running.start_server()
        for site in sites:
            running.start_node(site)
        yield running


def finish(run: subprocess.Popen, seconds: float = 120) -> None:
    assert run.wait(seconds) == 0


def rows(out) -> list[dict]:
    return [json.loads(line) for line in (out / RECORD).read_text().splitlines()]


def model(out):
    return load_file(out / json.loads((out / STATE).read_text())["model"])


def apart(a, b) -> float:
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def test_processes_find_the_model_of_one_process(federation, sites, place):
    out = place / "plain"
    finish(federation.run(rounds=1, out=str(out), **QUICK))
    expected, _ = simulate(sites, rounds=1, **QUICK)
    assert apart(model(out), expected) < 1e-6
    assert [row["hospital"] for row in rows(out)] == ["a", "b", "c"]


def test_a_server_that_is_killed_goes_on_where_it_stopped(federation, sites, place):
    out = place / "resumed"
    run = federation.run(rounds=2, out=str(out), **QUICK)
    wait((out / STATE).exists)
    federation.kill("server")
    run.kill()
    run.wait()
    assert json.loads((out / STATE).read_text())["round"] == 1
    federation.start_server()
    finish(federation.run(rounds=2, out=str(out), **QUICK))
    expected, _ = simulate(sites, rounds=2, **QUICK)
    assert apart(model(out), expected) < 1e-6
    assert {row["round"] for row in rows(out)} == {1, 2}


def test_updates_that_are_not_finite_or_of_another_model_stay_outside(
    federation, sites, place
):
    federation.stop("c")
    federation.start_node(sites[2] | {"fault": "nan, then other"})
    out = place / "poisoned"
    finish(federation.run(federation.faulty_app(), rounds=2, out=str(out), **QUICK))
    expected, _ = simulate(sites[:2], rounds=2, **QUICK)
    assert apart(model(out), expected) < 1e-6
    refused = [row for row in rows(out) if row["refused"]]
    assert [row["round"] for row in refused] == [1, 2]
    for row, reason in zip(refused, ("not finite", "another model"), strict=True):
        assert reason in row["refused"]


def test_slow_and_killed_hospitals_do_not_hold_up_the_round(federation, sites, place):
    mark, out = place / "begun", place / "late"
    changes = {"b": {"mark": str(mark), "fault": "slow"}, "c": {"fault": "slow"}}
    for site in sites[1:]:
        federation.stop(site["hospital"])
        federation.start_node(site | changes[site["hospital"]])
    start = time.monotonic()
    run = federation.run(
        federation.faulty_app(), rounds=1, least=1, timeout=30.0, out=str(out), **QUICK
    )
    wait(mark.exists)
    federation.kill("b")  # in the middle of its training
    finish(run)
    assert time.monotonic() - start < 200  # it sleeps for 300
    expected, _ = simulate(sites[:1], rounds=1, least=1, **QUICK)
    assert apart(model(out), expected) < 1e-6
    assert sorted(str(row["refused"]) for row in rows(out))[0] == "None"
    assert sum(row["refused"] is not None for row in rows(out)) == 2


def test_a_hospital_that_comes_back_takes_part_again(federation, sites, place):
    federation.stop("c")
    for site in sites[1:]:
        federation.start_node(site)
    out, used = place / "again", set[str]()
    end = time.monotonic() + 120
    # for a while, the server still asks the node that was killed
    while "b" not in used:
        assert time.monotonic() < end
        again = out / str(len(list(place.glob("again/*"))))
        finish(federation.run(rounds=1, least=1, out=str(again), **QUICK))
        used = {row["hospital"] for row in rows(again) if row["refused"] is None}
    chosen = [site for site in sites if site["hospital"] in used]
    expected, _ = simulate(chosen, rounds=1, least=1, **QUICK)
    assert apart(model(again), expected) < 1e-6


def test_another_authoritys_certificate_is_not_believed(federation, sites, place):
    write_certificates(place / "other", ["127.0.0.1"])
    stranger = sites[0] | {"hospital": "stranger"}
    federation.start_node(stranger, ca=place / "other" / "ca.pem")
    wait(lambda: "CERTIFICATE_VERIFY_FAILED" in federation.log("stranger").read_text())
    federation.kill("stranger")
    assert "SuperNode ID" not in federation.log("stranger").read_text()


def test_a_port_in_use_is_named(federation):
    federation.processes["kept"] = federation.processes.pop("server")
    federation.log("server").rename(federation.folder / "first.log")
    with pytest.raises(ChildProcessError):
        federation.start_server()
    assert "address already in use" in federation.log("server").read_text().lower()
    assert federation.processes["server"].poll() not in (None, 0)


def test_certificates_are_made_once(tmp_path):
    command = [
        sys.executable,
        *("-m", "deepseek_learn", "federated", "certificates"),
        *(str(tmp_path / "tls"), "hospital.example", "10.0.0.7"),
    ]
    subprocess.run(command, check=True)
    assert (tmp_path / "tls" / "server.key").stat().st_mode & 0o077 == 0
    before = (tmp_path / "tls" / "ca.pem").read_bytes()
    with pytest.raises(FileExistsError, match="choose another folder"):
        write_certificates(tmp_path / "tls", ["elsewhere"])
    assert (tmp_path / "tls" / "ca.pem").read_bytes() == before
    with pytest.raises(ValueError, match="hosts must be"):
        write_certificates(tmp_path / "none", [])
