"""Rounds of several hospitals in one process: averages, refusals, resumption."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests import services

services.need("flwr")

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402

from deepseek_learn.errors import DamagedFileError  # noqa: E402
from deepseek_learn.solutions.federated import compact, learning  # noqa: E402
from deepseek_learn.solutions.federated.candidates import (  # noqa: E402
    CandidateNet,
    auroc,
    scores,
)
from deepseek_learn.solutions.federated.client import client, round_seed  # noqa: E402
from deepseek_learn.solutions.federated.hospitals import Patients  # noqa: E402
from deepseek_learn.solutions.federated.ledger import PrivacyLedger  # noqa: E402
from deepseek_learn.solutions.federated.local import simulate  # noqa: E402
from deepseek_learn.solutions.federated.privacy import Budget, Spending  # noqa: E402
from deepseek_learn.solutions.federated.settings import Settings, Site  # noqa: E402
from deepseek_learn.solutions.federated.tasks import Task  # noqa: E402
from deepseek_learn.solutions.federated.vote import UntrustedModelError  # noqa: E402

from .cases import patients, save_hospitals  # noqa: E402

QUICK = {"rounds": 2, "steps": 3, "patients": 4}
MEAN = {"strategy": "fedavg", "registered": "a=12 b=8 c=5"}
PROX = MEAN | {"strategy": "fedprox"}


@pytest.fixture
def sites(tmp_path):
    return save_hospitals(tmp_path)


@pytest.fixture(scope="module")
def without_c(tmp_path_factory):
    """The model of the first two of these hospitals."""
    sites = save_hospitals(tmp_path_factory.mktemp("two"))
    return simulate(sites[:2], **QUICK)[0]


def start():
    torch.manual_seed(0)
    return CandidateNet().state_dict()


def by_hand(sites, rounds, local):
    """FedAvg in a few lines: train everywhere, then average by patients."""
    state = start()
    for number in range(1, rounds + 1):
        parts, weights = [], []
        for site in sites:
            own, model = Patients.load(site["data"]), CandidateNet()
            model.load_state_dict(state)
            learning.train(model, own, local, round_seed(0, site["hospital"], number))
            parts.append(model.state_dict())
            weights.append(len(own))
        shares = [weight / sum(weights) for weight in weights]
        state = {
            n: sum(share * p[n] for share, p in zip(shares, parts, strict=True))
            for n in state
        }
    return state


def apart(a, b):
    return max(float((a[name] - b[name]).abs().max()) for name in a)


@pytest.mark.parametrize("strategy", ["fedavg", "fedprox"])
def test_flowers_result_is_the_average_by_hand(sites, strategy):
    settings = QUICK | MEAN | {"strategy": strategy, "proximal": 0.5}
    state, rows = simulate(sites, **settings)
    local = Settings(**settings).local()
    assert apart(state, by_hand(sites, 2, local)) < 1e-6
    assert [row["hospital"] for row in rows] == ["a", "b", "c"] * 2
    assert [row["num-examples"] for row in rows[:3]] == [12, 8, 5]


def test_the_proximal_term_is_that_of_fedprox(monkeypatch):
    """Two steps of gradient descent on F(w) = sum(w)."""
    monkeypatch.setattr(
        learning, "DeepOpt", lambda model, lr: torch.optim.SGD(model.parameters(), lr)
    )
    sum_of_weights = Task(
        network=lambda: torch.nn.Linear(3, 1, bias=False),
        read=lambda hospital, data: [None],
        batch=lambda patients, index, rng: (torch.ones(1, 3), torch.ones(1)),
        loss=lambda model, x, y: model(x).sum(),
    )
    model, mu, lr = sum_of_weights.network(), 0.8, 0.25
    start = model.weight.detach().clone()
    local = learning.Local(steps=2, patients=1, lr=lr, proximal=mu)
    learning.train(model, [None], local, 0, sum_of_weights)
    expected = start - lr - lr * (1 - mu * lr)  # the gradient is 1 + mu (w - w0)
    assert torch.allclose(model.weight, expected)


def test_a_proximal_term_keeps_hospitals_near_the_model(sites):
    near, _ = simulate(sites, **QUICK, **PROX, proximal=100.0, lr=0.001)
    free, _ = simulate(sites, **QUICK, **MEAN, lr=0.001)
    assert apart(near, start()) < apart(free, start())


def test_the_model_learns_from_all_hospitals(sites):
    state, _ = simulate(sites, rounds=4, steps=10, patients=5)
    model, new = CandidateNet(), patients(20, seed=9)
    model.load_state_dict(state)
    assert auroc(scores(model, new), new.truth) > 0.9


def test_int8_updates_are_a_quarter_of_the_bytes_and_almost_as_exact(sites):
    full, rows = simulate(sites, **QUICK)
    small, coded = simulate(sites, **QUICK, int8=True)
    assert rows[0]["bytes"] / coded[0]["bytes"] > 3.5
    assert 0 < apart(full, small) < 0.02 * apart(full, start())


def test_codes_are_off_by_about_a_step_at_most():
    torch.manual_seed(0)
    sent = start()
    state = {n: v + 0.1 * torch.randn_like(v) for n, v in sent.items()}
    decoded = compact.decode(compact.encode(state, sent), sent)
    for name, value in state.items():
        step = (value - sent[name]).abs().max() / 127
        assert (decoded[name] - value).abs().max() <= 1.1 * step
    with pytest.raises(ValueError, match="codes of another model"):
        compact.decode(
            compact.encode({"x": torch.ones(9)}, {"x": torch.zeros(9)}), sent
        )


def test_a_run_that_was_stopped_goes_on_to_the_same_model(sites, tmp_path):
    whole, _ = simulate(sites, **QUICK | {"rounds": 4})
    out = str(tmp_path / "new" / "out")
    simulate(sites, **QUICK | {"rounds": 2}, out=out)
    resumed, rows = simulate(sites, **QUICK | {"rounds": 4}, out=out)
    assert apart(whole, resumed) == 0
    assert [row["round"] for row in rows] == [3] * 3 + [4] * 3
    lines = (tmp_path / "new" / "out" / "rounds.jsonl").read_text().splitlines()
    assert [json.loads(line)["round"] for line in lines] == sorted([1, 2, 3, 4] * 3)
    again, rows = simulate(sites, **QUICK | {"rounds": 4}, out=out)
    assert apart(whole, again) == 0
    assert rows == []


@pytest.mark.in_turn
def test_a_server_that_is_killed_repeats_one_round_at_most(sites, tmp_path):
    out = tmp_path / "out"
    program = (
        "import os, sys, json\n"
        "from deepseek_learn.solutions.federated import local, server\n"
        "keep = server._keep\n"
        "def killed(out, settings, progress, accountant):\n"
        "    if progress.rounds == 2: os._exit(9)\n"
        "    keep(out, settings, progress, accountant)\n"
        "server._keep = killed\n"
        f"local.simulate(json.loads(sys.argv[1]), out={str(out)!r}, rounds=3, steps=3,"
        " patients=4)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(sites)], capture_output=True
    )
    assert done.returncode == 9
    settings = QUICK | {"rounds": 3}
    state, rows = simulate(sites, **settings, out=str(out))
    assert [row["round"] for row in rows] == [2] * 3 + [3] * 3
    assert apart(state, simulate(sites, **settings)[0]) == 0


def test_a_folder_with_another_runs_model_is_refused(sites, tmp_path):
    simulate(sites, **QUICK, out=str(tmp_path / "out"))
    with pytest.raises(ValueError, match="another folder"):
        simulate(sites, **QUICK, lr=0.02, out=str(tmp_path / "out"))


def answering(**wrong):
    """A client app in which one hospital, c, answers in another way."""
    app = ClientApp()

    @app.train()
    def train(message, context):
        if context.node_config["hospital"] != "c" or not wrong:
            return client(message, context)
        (kind, value), *_ = wrong.items()
        sent = message.content["arrays"].to_torch_state_dict()
        if kind == "raises":
            raise RuntimeError(value)
        state = {"nan": {n: v * np.nan for n, v in sent.items()}}.get(kind, value)
        if kind == "far":
            state = {n: v + value for n, v in sent.items()}
        if kind == "shape":
            state = {n: v[:1] for n, v in sent.items()}
        if kind == "complex":
            state = {n: v.to(torch.complex64) for n, v in sent.items()}
        examples = value if kind == "examples" else 5
        if kind in ("examples", "name"):
            state = sent
        content = {
            "arrays": ArrayRecord(state),
            "metrics": MetricRecord({"num-examples": examples}),
        }
        if kind == "name":
            odd = {"hospital": b"xx", "node": "zz", "refused": "x" * 10}
            content["hospital"] = ConfigRecord(odd)
        if kind == "nothing":
            content = {}
        return Message(RecordDict(content), reply_to=message)

    return app


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"nan": 0}, "is not finite"),
        ({"other": {"weight": torch.ones(2)}}, "another model"),
        ({"shape": 0}, "another model: .* has shape"),
        ({"far": 100.0}, "norm of .* more than 10 times"),
        ({"examples": float("nan")}, "number of patients is nan"),
        ({"examples": -3.0}, "number of patients is -3"),
        ({"examples": 0}, "number of patients is 0, not 1 or more"),
        ({"examples": float("inf")}, "number of patients is inf"),
        ({"complex": 0}, "another model: .* is of torch.complex64"),
        ({"nothing": {}}, "arrays"),
        ({"raises": "no disk left"}, "no disk left"),
    ],
)
def test_an_answer_that_may_not_be_averaged_is_left_out(
    sites, without_c, wrong, reason
):
    import re

    state, rows = simulate(sites, answering(**wrong), **QUICK)
    refused = [row for row in rows if row["refused"]]
    assert len(refused) == 2
    assert all(re.search(reason, row["refused"]) for row in refused)
    assert apart(state, without_c) == 0


def test_a_hospital_cannot_write_what_it_likes_into_the_record(sites, tmp_path):
    out = tmp_path / "out"
    _, rows = simulate(sites, answering(name=0), **QUICK, out=str(out))
    assert {row["node"] for row in rows} == {1, 2, 3}
    assert all(row["refused"] is None for row in rows)
    lines = (out / "rounds.jsonl").read_text().splitlines()
    assert {json.loads(line)["hospital"] for line in lines} == {"a", "b", "b'xx'"}


def test_a_round_with_too_few_answers_leaves_the_model_as_it_is(sites, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(
        UntrustedModelError, match=r"Round 2.* 1 of 3 .* not finite"
    ) as e:
        simulate(sites, answering(nan=0), **QUICK, least=3, out=str(out))
    assert all(row["void"] for row in e.value.record)
    assert not (out / "state.json").exists()


def with_ledgers(sites, folder, epsilon):
    """The same hospitals, each with a new ledger."""
    paths = {site["hospital"]: folder / f"{site['hospital']}.json" for site in sites}
    for name, path in paths.items():
        PrivacyLedger.create(path, name, Budget(epsilon))
    return [site | {"ledger": str(paths[site["hospital"]])} for site in sites]


def test_a_round_that_is_lost_leaves_the_others_their_budget(sites, tmp_path):
    own = with_ledgers(sites, tmp_path, 6.0)
    PrivacyLedger(own[0]["ledger"]).charge(
        Spending(2.0, 1 / 3, 3)
    )  # nobody averaged it
    _, rows = simulate(own, **QUICK)
    assert all(row["refused"] is None for row in rows)
    assert max(row["epsilon"] for row in rows) <= 6


@pytest.mark.parametrize("fault", ["labels", "ledger", "other ledger", "model"])
def test_with_a_ledger_a_refusal_says_nothing_about_patients(sites, tmp_path, fault):
    own = with_ledgers(sites, tmp_path, 6.0)
    app = client
    if fault == "labels":
        no_nodule = torch.zeros_like(patients(5).labels)
        Patients(patients(5).crops, no_nodule, no_nodule).save(own[2]["data"])
    elif fault == "ledger":
        (tmp_path / "c.json").unlink()
    elif fault == "other ledger":
        own[2]["ledger"] = own[1]["ledger"]
    else:
        app = ClientApp()

        @app.train()
        def train(message, context):
            if context.node_config["hospital"] == "c":
                sent = message.content["arrays"].to_torch_state_dict()
                broken = ArrayRecord({n: v * np.nan for n, v in sent.items()})
                config = message.content["config"]
                message.content = RecordDict({"arrays": broken, "config": config})
            return client(message, context)

    _, rows = simulate(own, app, **QUICK)
    refused = [row["refused"] for row in rows if row["refused"]]
    assert refused == ["c: it does not train; its own log says why"] * 2


def test_a_budget_is_reported_per_round_and_kept(sites, tmp_path):
    own = with_ledgers(sites, tmp_path, 6.0)
    _, rows = simulate(own, **QUICK)
    spent = [row["epsilon"] for row in rows if row["hospital"] == "a"]
    assert 0 < spent[0] < spent[1] <= 6
    assert all("loss" not in row for row in rows)
    with pytest.raises(UntrustedModelError, match="3 of 3 hospitals took no part") as e:
        simulate(own, **QUICK)
    rows = e.value.record
    assert all("of the budget of 6 " in row["refused"] for row in rows)
    assert all(row["refused"].startswith(("a: ", "b: ", "c: ")) for row in rows)


@pytest.mark.parametrize("who", ["server", "hospitals"])
def test_flowers_noise_protects_hospitals_within_a_budget(sites, tmp_path, who):
    out = str(tmp_path / "out")
    settings = QUICK | {"clipped_by": who, "clip": 0.002, "noise": 2.0, "out": out}
    settings["strategy"] = "fedavg"
    state, rows = simulate(sites, **settings, max_epsilon=6.0)
    spent = [row["epsilon"] for row in rows if row["hospital"] == "all of them"]
    assert 0 < spent[0] < spent[1] < 6
    moved = torch.cat([(state[n] - v).flatten() for n, v in start().items()])
    deviation = 2.0 * 0.002 / 3 * 2**0.5  # of two rounds
    assert float(moved.std()) == pytest.approx(deviation, rel=0.1)
    more = settings | {"rounds": 50}
    _, rows = simulate(sites, **more, max_epsilon=6.0)
    assert "exceed max_epsilon" in rows[-1]["refused"]
    assert rows[0]["round"] == 3  # it remembers what was spent


def test_a_round_without_a_hospital_is_not_released_with_too_little_noise(sites):
    settings = QUICK | {"clipped_by": "server", "clip": 0.002, "noise": 2.0}
    with pytest.raises(UntrustedModelError, match="not finite") as e:
        simulate(sites, answering(nan=0), **settings, strategy="fedavg")
    assert all(row["void"] for row in e.value.record)
    assert not any("epsilon" in row for row in e.value.record)


def test_an_update_of_zero_does_not_expel_the_others(sites):
    lazy = ClientApp()

    @lazy.train()
    def train(message, context):
        answer = client(message, context)
        if context.node_config["hospital"] == "a":
            answer.content["arrays"] = message.content["arrays"]
        return answer

    _, rows = simulate(sites[:2], lazy, **QUICK)
    assert all(row["refused"] is None for row in rows)


def test_a_damaged_run_is_not_continued(sites, tmp_path):
    out = tmp_path / "out"
    simulate(sites, **QUICK, out=str(out))
    path, weights = out / "state.json", out / "model_0.safetensors"
    whole = path.read_bytes()
    less = whole.replace(b'"round": 2', b'"round": 1')
    for damage in (b"{", b"{}", b'{"settings": 3, "round": 1}', less):
        path.write_bytes(damage)
        with pytest.raises(DamagedFileError, match="cannot be read"):
            simulate(sites, **QUICK, out=str(out))
    path.write_bytes(whole)
    flipped = bytearray(weights.read_bytes())
    flipped[-1] ^= 1
    weights.write_bytes(flipped)
    with pytest.raises(DamagedFileError, match="not the model that was written"):
        simulate(sites, **QUICK, out=str(out))


def test_a_training_that_dies_has_been_paid_for(sites, tmp_path, monkeypatch):
    from deepseek_learn.solutions.federated import client as module

    def killed(*_, **__):
        raise RuntimeError("no memory left")

    monkeypatch.setattr(module, "train_privately", killed)
    own = with_ledgers(sites[:1], tmp_path, 6.0)
    with pytest.raises(UntrustedModelError) as e:
        simulate(own, **QUICK, least=1)
    rows = e.value.record
    assert all("its own log says why" in row["refused"] for row in rows)
    assert len(PrivacyLedger(tmp_path / "a.json").spent) == QUICK["rounds"]


def test_a_hospitals_own_configuration_decides_about_privacy(sites, tmp_path):
    """The server's settings know no epsilon, so it cannot turn privacy off."""
    with pytest.raises(ValueError, match=r"may contain .*; got 'epsilon'"):
        simulate(sites, **QUICK, epsilon=100.0)
    with pytest.raises(ValueError, match="may contain data, hospital, ledger; got 'co"):
        Site.of({"hospital": "a", "color": 3})
    with pytest.raises(ValueError, match="must name the hospital"):
        Site.of({"ledger": "/x"})
    with pytest.raises(ValueError, match="ledger must be an absolute path"):
        Site("a", ledger="ledger.json")
    with pytest.raises(ValueError, match="hospital must be a string; got 3"):
        Site.of({"hospital": 3})
    with pytest.raises(ValueError, match="must be a mapping"):
        Site.of(["a"])


def test_a_hospital_takes_part_once(sites):
    with pytest.raises(ValueError, match="sites must be different hospitals"):
        simulate([sites[0], sites[0]], **QUICK)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (0, "c has no crop with the label 1"),
        (1, "c has no crop with the label 0"),
        (2, "labels in .* must be 0 .no nodule. or 1; got 2"),
    ],
)
def test_a_hospital_with_unusable_labels_says_so(sites, labels, reason):
    import re

    own = patients(5)
    values = torch.full_like(own.labels, labels)
    Patients(own.crops, values, values.clip(max=1)).save(sites[2]["data"])
    _, rows = simulate(sites, **QUICK)
    assert all(re.search(reason, row["refused"]) for row in rows if row["node"] == 3)


def test_a_hospital_with_swapped_labels_finds_out(sites):
    own = Patients.load(sites[2]["data"])
    Patients(own.crops, 1 - own.labels, 1 - own.truth).save(sites[2]["data"])
    _, rows = simulate(sites, rounds=5, steps=10, patients=5)
    last = [row for row in rows if row["round"] == 5 and row["node"] == 3]
    assert "0 and 1 swapped" in last[0]["refused"]


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"task": "segmentation"}, "task must be candidates or detector"),
        ({"strategy": "krum"}, "strategy must be fedmedian, fedavg or fedprox"),
        ({"strategy": "fedavg"}, "registered must name the hospitals if .* fedavg"),
        ({"registered": "a=12 b"}, "registered must be different names, each with"),
        ({"registered": "a=12 a=3"}, "registered must be different names"),
        ({"registered": "a=-3"}, "registered must be different names"),
        ({"max_patients": 9}, "got 'max_patients'"),
        ({"rounds": 0}, "rounds must be at least 1; got 0"),
        ({"rounds": 2.5}, "rounds must be a whole number; got 2.5"),
        ({"rounds": True}, "rounds must be a whole number; got True"),
        ({"lr": 0.0}, "lr must be positive; got 0.0"),
        ({"lr": float("nan")}, "lr must be a finite number; got nan"),
        ({"lr": "0.1"}, "lr must be a finite number; got '0.1'"),
        ({"proximal": -1.0} | PROX, "proximal must be at least 0"),
        ({"timeout": -1.0}, "timeout must be positive"),
        ({"int8": "false"}, "int8 must be true or false; got 'false'"),
        ({"least": 4}, "least must be at most hospitals .3.; got 4"),
        ({"stepz": 3}, "may contain .*steps.*; got 'stepz'"),
        ({"clipped_by": "me"}, "clipped_by must be nobody, server or hospitals"),
        ({"clipped_by": "server", "noise": 0.0}, "noise must be positive"),
        ({"clipped_by": "server"}, "strategy must be fedavg or fedprox if updates are"),
        (
            {"clipped_by": "hospitals", "int8": True, "strategy": "fedavg"},
            "int8 must be false",
        ),
    ],
)
def test_settings_are_checked(config, reason):
    with pytest.raises(ValueError, match=reason):
        Settings.of(config)


def test_the_flower_app_lists_all_settings():
    import tomllib
    from dataclasses import asdict
    from importlib.resources import files

    path = files("deepseek_learn.solutions.federated") / "flower_app"
    facts = tomllib.loads((path / "pyproject.toml").read_text(encoding="utf-8"))
    assert facts["tool"]["flwr"]["app"]["config"] == asdict(Settings())


def test_the_server_reaches_itself_with_its_certificate(tmp_path):
    """Flower's server is its own client, at 127.0.0.1; else runs would wait forever."""
    from cryptography import x509

    from deepseek_learn.solutions.federated import certificates

    certificates.write_certificates(tmp_path, ["server.example"])
    own = x509.load_pem_x509_certificate((tmp_path / "server.pem").read_bytes())
    names = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["server.example"]
    addresses = names.get_values_for_type(x509.IPAddress)
    assert list(map(str, addresses)) == ["127.0.0.1"]


@pytest.mark.parametrize(
    "hosts", ["server.example", [], ["host:9400"], ["https://x"], ["10.0.0.0/8"], [""]]
)
def test_certificates_are_for_names_of_machines(tmp_path, hosts):
    from deepseek_learn.solutions.federated import certificates

    with pytest.raises(ValueError, match="hosts must be"):
        certificates.write_certificates(tmp_path / "tls", hosts)
    assert not (tmp_path / "tls").exists()


@pytest.mark.parametrize("size", [1, 3, 8])
def test_the_mean_loss_counts_each_patient_once(size):
    """Whatever fits in a batch, and the last one is smaller."""
    task = SimpleNamespace(
        batch=lambda patients, index, rng: (torch.tensor(patients)[index],),
        loss=lambda model, values: values.mean(),
    )
    losses = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert learning.mean_loss(None, losses, size, task) == pytest.approx(31 / 5)


def test_the_command_trains_and_continues(tmp_path, monkeypatch, capsys):
    from deepseek_learn import cli

    def run(rounds):
        words = ["federated", "simulate", "--out", str(tmp_path), "--rounds", rounds]
        monkeypatch.setattr("sys.argv", ["deepseek-learn", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        record = capsys.readouterr().out.strip()
        assert (ended.value.code or 0, record) == (0, str(tmp_path / "rounds.jsonl"))
        lines = map(json.loads, (tmp_path / "rounds.jsonl").read_text().splitlines())
        return [(line["round"], line["hospital"]) for line in lines]

    first = run("1")
    assert sorted(first) == [(1, name) for name in ("harbor", "north", "valley")]
    assert run("2")[:3] == first  # the first round is not run again
    assert len(run("2")) == 6
