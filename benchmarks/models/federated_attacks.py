"""Hospitals that try to ruin the model of a federation, and what they achieve."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor

from deepseek_learn.solutions.federated import candidates, hospitals
from deepseek_learn.solutions.federated.client import client, round_seed
from deepseek_learn.solutions.federated.hospitals import TRAINING, Patients
from deepseek_learn.solutions.federated.learning import Local, train
from deepseek_learn.solutions.federated.local import simulate
from deepseek_learn.solutions.federated.robust_aggregation import model_of, round_of
from deepseek_learn.solutions.federated.vote import UntrustedModelError

CLAIM = 10_000  # patients: what anybody could claim before claims were registered
PIECES = dict(zip(TRAINING, (3, 2, 2), strict=True))  # of seven hospitals
NINEFOLD, REVERSED = "-9 times its update", "-1 times its update"
CLAIMING, SWAPPED = "-1 times, 10,000 patients", "labels swapped"
COLLUDING = "-1 times the mean update of both"
FACTORS = {
    NINEFOLD: -9.0,
    REVERSED: -1.0,
    CLAIMING: -1.0,
    SWAPPED: 1.0,
    COLLUDING: -1.0,
}


def three() -> dict[str, Patients]:
    """The patients of the three hospitals."""
    return {name: hospitals.patients(name) for name in TRAINING}


def seven() -> dict[str, Patients]:
    """The same patients in seven hospitals: north in three, the others in two."""
    pieces = {}
    for name, count in PIECES.items():
        own = hospitals.patients(name)
        for piece in range(count):
            index = torch.arange(piece, len(own), count)
            pieces[f"{name}{piece + 1}"] = own.subset(index)
    return pieces


def trained(
    sent: dict[str, Tensor], own: Patients, local: Local, seed: int
) -> dict[str, Tensor]:
    """What an honest hospital adds to the model that it was sent."""
    model = candidates.CandidateNet()
    model.load_state_dict(sent)
    train(model, own, local, seed)
    return {name: value - sent[name] for name, value in model.state_dict().items()}


def attacking(
    parts: dict[str, Patients],
    attackers: Sequence[str],
    attack: str,
    local: Local,
    seed: int,
) -> ClientApp:
    """The hospitals' app, with attackers who also lie in the vote."""
    app = ClientApp()

    def update_of(name: str, sent: dict[str, Tensor], number: int) -> dict[str, Tensor]:
        own = parts[name]
        if attack == SWAPPED:
            own = replace(own, labels=1 - own.labels)
        return trained(sent, own, local, round_seed(seed, name, number))

    @app.train()
    def attacked_round(message: Message, context: Any) -> Message:
        name = context.node_config["hospital"]
        if name not in attackers:
            return client(message, context)
        sent, number = model_of(message), round_of(message)
        together = attackers if attack == COLLUDING else [name]
        updates = [update_of(each, sent, number) for each in together]
        step = FACTORS[attack] / len(updates)
        state = {n: v + step * sum(u[n] for u in updates) for n, v in sent.items()}
        claim = CLAIM if attack == CLAIMING else len(parts[name])
        content = {
            "arrays": ArrayRecord(state),
            "metrics": MetricRecord({"num-examples": claim}),
            "hospital": ConfigRecord({"hospital": name}),
        }
        return Message(RecordDict(content), reply_to=message)

    @app.evaluate()
    def attacked_vote(message: Message, context: Any) -> Message:
        if context.node_config["hospital"] not in attackers:
            return client(message, context)
        lie = RecordDict({"metrics": MetricRecord({"better": 1})})
        return Message(lie, reply_to=message)

    return app


def run(
    folder: Path,
    parts: dict[str, Patients],
    attackers: Sequence[str],
    attack: str,
    settings: dict[str, Any],
    test: dict[str, Patients],
) -> dict[str, Any]:
    """The AUROC of a federation's model, and why the server refused to return it.

    Args:
        test: the patients of *elsewhere*, and those of the hospitals that train.
    """
    sites = [{"hospital": n, "data": str(folder / f"{n}.npz")} for n in parts]
    for site in sites:
        if not Path(site["data"]).exists():
            parts[site["hospital"]].save(site["data"])
    local = Local(settings["steps"], settings["patients"], settings["lr"])
    app = attacking(parts, attackers, attack, local, settings["seed"])
    try:
        (state, record), raised = simulate(sites, app, **settings), ""
    except UntrustedModelError as error:
        state, record, raised = error.state, error.record, str(error)
    model = candidates.CandidateNet()
    model.load_state_dict(state)
    values = {
        name: candidates.auroc(candidates.scores(model, each), each.truth)
        for name, each in test.items()
    }
    honest = [row for row in record if row.get("hospital") not in attackers]
    refused = sum(row["refused"] is not None for row in honest)
    own = mean(values[name] for name in TRAINING)
    facts = {"auroc": values["elsewhere"], "own_auroc": own}
    return facts | {"raised": raised, "honest_refused": refused}
