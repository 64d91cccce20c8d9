"""Hospitals that try to ruin the model: the median holds, and a ruined model is refused."""

import json
from dataclasses import replace

import pytest
import torch

from tests import services

services.need("flwr")

from flwr.app import (  # noqa: E402
    Array,
    ArrayRecord,
    ConfigRecord,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.common.constant import ErrorCode  # noqa: E402

from deepseek_learn.solutions.federated.candidates import (  # noqa: E402
    CandidateNet,
    auroc,
    scores,
)
from deepseek_learn.solutions.federated.client import client  # noqa: E402
from deepseek_learn.solutions.federated.hospitals import Patients  # noqa: E402
from deepseek_learn.solutions.federated.ledger import PrivacyLedger  # noqa: E402
from deepseek_learn.solutions.federated.local import simulate  # noqa: E402
from deepseek_learn.solutions.federated.privacy import Budget  # noqa: E402
from deepseek_learn.solutions.federated.robust_aggregation import REFUSED  # noqa: E402
from deepseek_learn.solutions.federated.vote import UntrustedModelError  # noqa: E402

from .cases import patients, save_hospitals  # noqa: E402

QUICK = {"rounds": 1, "steps": 1, "patients": 2}
LONG = {"rounds": 4, "steps": 6, "patients": 4}
TRUSTING = {"strategy": "fedavg", "registered": "a=10000 b=10000 c=10000"}
SEVEN = (8, 6, 5, 5, 5, 6, 5)


@pytest.fixture
def sites(tmp_path):
    return save_hospitals(tmp_path)


def sending(attackers, factor=1.0, claim=None, name=None, together=False):
    """An app whose attackers send a multiple of their update, and lie in the vote.

    Args:
        claim: the number of patients that they claim; None for their own.
        name: under which they answer; None for their own.
        together: whether all of them send the first one's update.
    """
    app, first = ClientApp(), []

    @app.train()
    def train(message, context):
        own = context.node_config["hospital"]
        answer = client(message, context)
        if own not in attackers or answer.has_error():
            return answer
        sent = message.content["arrays"].to_torch_state_dict()
        state = answer.content["arrays"].to_torch_state_dict()
        update = {n: factor * (state[n] - v) for n, v in sent.items()}
        if together:
            first.append(update)
            update = first[len(first) - 1 - (len(first) - 1) % len(attackers)]
        number = claim or answer.content["metrics"]["num-examples"]
        content = {
            "arrays": ArrayRecord({n: v + update[n] for n, v in sent.items()}),
            "metrics": MetricRecord({"num-examples": number}),
            "hospital": ConfigRecord({"hospital": name or own}),
        }
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def compare(message, context):
        if context.node_config["hospital"] not in attackers:
            return client(message, context)
        lie = RecordDict({"metrics": MetricRecord({"better": 1})})
        return Message(lie, reply_to=message)

    return app


def swap_labels(site):
    own = Patients.load(site["data"])
    replace(own, labels=1 - own.labels).save(site["data"])


def quality(state):
    model, new = CandidateNet(), patients(20, seed=9)
    model.load_state_dict(state)
    return auroc(scores(model, new), new.truth)


def apart(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [-9.0, -1.0, "labels"])
def test_one_of_three_cannot_ruin_the_median(sites, factor):
    honest, _ = simulate(sites, **LONG)
    if factor == "labels":
        swap_labels(sites[0])
        app = sending([])
    else:
        app = sending(["a"], factor)
    state, rows = simulate(sites, app, **LONG)
    assert quality(state) > max(0.85, quality(honest) - 0.03)
    refused = {row["hospital"] for row in rows if row["refused"] and "hospital" in row}
    assert not refused & {"b", "c"}


@pytest.mark.slow
@pytest.mark.parametrize("factor", [-9.0, -1.0])
def test_two_of_seven_who_collude_cannot_either(tmp_path, factor):
    sites = save_hospitals(tmp_path, SEVEN)
    app = sending(["a", "b"], factor, together=True)
    state, _ = simulate(sites, app, **LONG | {"rounds": 3})
    assert quality(state) > 0.85


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack", [{"factor": -9.0}, {"factor": -1.0, "claim": 10_000}]
)
def test_a_model_that_fedavg_let_be_ruined_is_refused(sites, tmp_path, attack):
    app, out = sending(["c"], **attack), str(tmp_path / "out")
    settings = LONG | TRUSTING | {"out": out}
    with pytest.raises(UntrustedModelError) as e:
        simulate(sites, app, **settings)
    assert quality(e.value.state) < 0.5
    with pytest.raises(UntrustedModelError):  # again, now from the folder
        simulate(sites, app, **settings)


def test_the_hospitals_vote_about_the_model(sites, tmp_path):
    app, out = sending(["a"], -1.0, claim=10_000), tmp_path / "out"
    settings = QUICK | TRUSTING | {"steps": 3, "lr": 0.05, "out": str(out)}
    with pytest.raises(
        UntrustedModelError, match="2 of 3 hospitals find the model worse"
    ):
        simulate(sites, app, **settings)
    with pytest.raises(
        UntrustedModelError, match="2 of 3 hospitals find the model worse"
    ):
        simulate(sites, app, **settings)
    assert not json.loads((out / "state.json").read_text())["accepted"]
    guarded = []
    for site in sites:
        path = tmp_path / f"{site['hospital']}.json"
        PrivacyLedger.create(path, site["hospital"], Budget(6.0))
        guarded.append(site | {"ledger": str(path)})
    app = sending(["a"], -1.0, claim=10_000)
    simulate([sites[0], *guarded[1:]], app, **settings | {"out": ""})  # nobody objects


def test_no_update_is_longer_than_the_median_in_the_average(sites):
    _, rows = simulate(sites, sending(["c"], -9.0), **QUICK)
    middle = sorted(row["norm"] for row in rows)[1]
    for row in rows:
        assert row["norm"] * row.get("scale", 1) <= middle * (1 + 1e-9)
    assert rows[2]["scale"] < 0.2
    far, near = (
        simulate(sites, sending(["c"], factor), **QUICK)[0] for factor in (9.0, 5.0)
    )
    assert apart(far, near) < 1e-6  # beyond the median, the length does not matter


def test_a_claim_counts_for_no_more_than_was_registered(sites):
    liar = sending(["c"], claim=10_000)
    honest, _ = simulate(sites, **QUICK)
    state, _ = simulate(sites, liar, **QUICK)
    assert apart(state, honest) < 1e-6  # a median counts no patients
    mean = {"strategy": "fedavg", "registered": "a=12 b=8 c=5"}
    state, rows = simulate(sites, liar, **QUICK, **mean)
    assert [row["num-examples"] for row in rows] == [12, 8, 5]
    assert apart(state, simulate(sites, **QUICK, **mean)[0]) < 1e-6
    assert apart(state, simulate(sites, liar, **QUICK, **TRUSTING)[0]) > 1e-4


def test_a_stranger_and_a_name_that_two_bear_are_refused(sites):
    _, rows = simulate(sites, **QUICK, registered="a=12 b=8")
    assert [row["refused"] for row in rows] == [None, None, "c is not registered"]
    with pytest.raises(UntrustedModelError, match="2 nodes answered as a"):
        simulate(sites, sending(["c"], name="a"), **QUICK)


def test_a_round_in_which_most_are_refused_is_void(tmp_path):
    """Otherwise two attackers would go on alone once the others have refused."""
    sites = save_hospitals(tmp_path, SEVEN)
    for site in sites[:4]:
        no_nodule = torch.zeros_like((own := Patients.load(site["data"])).labels)
        replace(own, labels=no_nodule).save(site["data"])
    with pytest.raises(UntrustedModelError, match="4 of 7 hospitals took no part") as e:
        simulate(sites, **QUICK, least=2)
    assert all(row["void"] for row in e.value.record)
    Patients.load(sites[4]["data"]).save(sites[0]["data"])
    _, rows = simulate(sites, **QUICK, least=4)
    assert not any(row["void"] for row in rows)


@pytest.mark.parametrize("code", [ErrorCode.NODE_UNAVAILABLE, REFUSED])
def test_hospitals_that_are_gone_are_not_refused_ones(sites, code):
    app = ClientApp()

    @app.train()
    def train(message, context):
        if context.node_config["hospital"] == "a":
            return client(message, context)
        return Message(Error(code, "no more answers"), reply_to=message)

    settings = QUICK | {"least": 1}
    if code == REFUSED:
        with pytest.raises(UntrustedModelError, match="2 of 3 hospitals took no part"):
            simulate(sites, app, **settings)
    else:
        state, _ = simulate(sites, app, **settings)
        assert apart(state, simulate(sites[:1], **settings)[0]) == 0


@pytest.mark.parametrize("who", ["server", "hospitals"])
def test_with_privacy_each_update_is_clipped_to_the_constant(sites, monkeypatch, who):
    """A hospital that does not clip, and one whose update is tiny, change no other's."""
    from deepseek_learn.solutions.federated import robust_aggregation

    admitted, admit = {}, robust_aggregation.ScreenedGrid._admit

    def record(self, answer, sent, limit):
        admit(self, answer, sent, limit)
        arrays = answer.message.content["arrays"].to_torch_state_dict()
        flat = torch.cat([(arrays[n] - v).flatten() for n, v in sent.items()])
        admitted[answer.row["hospital"]] = flat

    monkeypatch.setattr(robust_aggregation.ScreenedGrid, "_admit", record)
    privacy = {"clipped_by": who, "clip": 0.02, "noise": 1.0, "strategy": "fedavg"}
    updates = []
    for factor in (1e-3, 50.0):
        simulate(sites, sending(["c"], factor), **QUICK, **privacy)
        updates.append(dict(admitted))
    assert all(
        flat.norm() <= 0.02 * 1.001 for each in updates for flat in each.values()
    )
    for name in "ab":
        assert torch.equal(updates[0][name], updates[1][name])


def forged(data, kind="torch.float32"):
    """An array whose bytes are not what they say."""
    return Array(dtype=kind, shape=(3,), stype="numpy.ndarray", data=data)


@pytest.mark.parametrize(
    "content",
    [
        {"arrays": ArrayRecord({"x": forged(b"no array")})},
        {"arrays": ArrayRecord({"x": forged(b"\x93NUMPY\x01\x00")})},
        {"arrays": ArrayRecord({"codes": torch.ones(3)})},
        {"arrays": ArrayRecord({"codes": torch.ones(3), "scales": torch.ones(1)})},
        {"arrays": ArrayRecord({})},
        {"arrays": MetricRecord({"x": 1})},
    ],
)
def test_bytes_that_are_no_model_do_not_stop_the_server(sites, content):
    app = ClientApp()

    @app.train()
    def train(message, context):
        if context.node_config["hospital"] != "c":
            return client(message, context)
        metrics = {"metrics": MetricRecord({"num-examples": 5})}
        return Message(RecordDict(content | metrics), reply_to=message)

    state, rows = simulate(sites, app, **QUICK)
    assert [bool(row["refused"]) for row in rows if row["node"] == 3] == [True]
    assert apart(state, simulate(sites[:2], **QUICK)[0]) == 0


def test_an_update_whose_squares_overflow_is_refused(sites):
    _, rows = simulate(sites, sending(["c"], 1e25), **QUICK)
    assert "norm" in rows[2]["refused"]
