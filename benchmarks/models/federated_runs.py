"""Trainings of hospitals, alone, together and with all data in one place."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from deepseek_learn.solutions.federated import attacks, candidates, hospitals
from deepseek_learn.solutions.federated.candidates import CandidateNet, auroc
from deepseek_learn.solutions.federated.hospitals import (
    HOSPITALS,
    TRAINING,
    Patients,
)
from deepseek_learn.solutions.federated.learning import Local, train
from deepseek_learn.solutions.federated.ledger import PrivacyLedger
from deepseek_learn.solutions.federated.local import simulate
from deepseek_learn.solutions.federated.privacy import Budget
from deepseek_learn.solutions.federated.tasks import TASKS
from deepseek_learn.solutions.nodules.detector import mark
from deepseek_learn.solutions.nodules.evaluate import Marked
from deepseek_learn.solutions.phantoms import scans
from deepseek_learn.solutions.phantoms.phantom import Scan

EPSILONS = (1.0, 4.0, 8.0)
SIZES = {name: HOSPITALS[name].patients for name in TRAINING}
MEAN = {
    "strategy": "fedavg",
    "registered": " ".join(f"{name}={size}" for name, size in SIZES.items()),
}
TOGETHER: dict[str, dict[str, Any]] = {
    "FedAvg": {},
    "FedProx": {"strategy": "fedprox", "proximal": 0.1},
    "FedAvg, int8 updates": {"int8": True},
}
ALONE = tuple(f"{name} alone" for name in TRAINING)
POOLED = "all data in one place"
PRIVATE = {f"FedAvg, epsilon {value:g}": value for value in EPSILONS}
WAYS = (*ALONE, POOLED, *TOGETHER, *PRIVATE)


@dataclass(frozen=True)
class Plan:
    """How long and with what hospitals train.

    Attributes:
        task: of `tasks.TASKS`.
        local: without a budget; `private` is with one.
        data: the hospitals' folders of scans; None if the task needs none.
    """

    task: str
    rounds: int
    local: Local
    private: Local
    data: dict[str, str] | None = None

    def sites(self) -> list[dict[str, Any]]:
        data = self.data or {}
        return [{"hospital": n} | ({"data": data[n]} if data else {}) for n in TRAINING]

    def patients(self, name: str | None = None) -> Any:
        """A hospital's patients, or all of them."""
        task = TASKS[self.task]
        parts = [
            task.read(site["hospital"], site.get("data", "")) for site in self.sites()
        ]
        if name is not None:
            return parts[TRAINING.index(name)]
        if isinstance(parts[0], Patients):
            return hospitals.joined(*parts)
        return [each for part in parts for each in part]

    def train(self, way: str, seed: int) -> tuple[nn.Module, list[dict[str, Any]]]:
        """The model of one of `WAYS`, and the server's record."""
        torch.manual_seed(seed)
        model = TASKS[self.task].network()
        if way == POOLED:
            self._alone(model, self.patients(), seed, len(TRAINING))
            return model, []
        if way in ALONE:
            self._alone(model, self.patients(TRAINING[ALONE.index(way)]), seed)
            return model, []
        local = self.private if way in PRIVATE else self.local
        settings = {"task": self.task, "rounds": self.rounds, "seed": seed}
        settings |= {n: getattr(local, n) for n in ("steps", "patients", "lr")}
        with tempfile.TemporaryDirectory() as folder:
            sites = self.sites()
            for site in sites if way in PRIVATE else ():
                path = Path(folder) / site["hospital"]
                PrivacyLedger.create(path, site["hospital"], Budget(PRIVATE[way]))
                site["ledger"] = str(path)
            settings |= MEAN | TOGETHER.get(way, {})
            state, record = simulate(sites, **settings)
        model.load_state_dict(state)
        return model, record

    def _alone(self, model: nn.Module, own: Any, seed: int, times: int = 1) -> None:
        """Train in one place: `times` as many steps as a hospital makes in a federation."""
        task, local = TASKS[self.task], self.local
        for number in range(
            self.rounds
        ):  # a fresh optimizer in each, as in a federation
            steps = Local(times * local.steps, local.patients, local.lr)
            train(model, own, steps, 1000 * seed + number, task)


def new_patients(
    folder: Path, names: Sequence[str] = tuple(HOSPITALS)
) -> dict[str, Patients]:
    """Patients who are in no other file, 40 per hospital; generated once."""
    found = {}
    for name in names:
        path = folder / f"generator-{scans.GENERATOR}" / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            hospitals.generate(HOSPITALS[name], "new", hospitals.TEST).save(path)
        found[name] = Patients.load(path)
    return found


def packaged() -> dict[str, Patients]:
    """The package's test patients, on which the settings were chosen."""
    return {name: hospitals.patients(name, "test") for name in HOSPITALS}


def classifier(
    plan: Plan, way: str, seed: int, test: Callable[[], dict[str, Patients]]
) -> dict[str, Any]:
    """AUROC per hospital, membership inference, and the bytes of an update."""
    model, record = plan.train(way, seed)
    values = {
        name: auroc(candidates.scores(model, each), each.truth)
        for name, each in test().items()
    }
    names = [TRAINING[ALONE.index(way)]] if way in ALONE else TRAINING
    return {"auroc": values, **leak(model, names, test()), **facts(record)}


def leak(
    model: nn.Module, names: Sequence[str], test: dict[str, Patients]
) -> dict[str, float]:
    """What membership inference gains: 40 members and 40 others of each hospital."""
    some = torch.arange(hospitals.TEST)
    members = [hospitals.patients(name).subset(some) for name in names]
    losses = [
        candidates.patient_losses(model, hospitals.joined(*group)).numpy()
        for group in (members, [test[name] for name in names])
    ]
    return {"advantage": attacks.membership(*losses, repeats=1).value}


def facts(record: list[dict[str, Any]]) -> dict[str, Any]:
    """What the server's record says about a training."""
    if not record:
        return {}
    sizes = [row["bytes"] for row in record if row.get("bytes")]
    spent = [row["epsilon"] for row in record if "epsilon" in row]
    refused = sum(row["refused"] is not None for row in record)
    result: dict[str, Any] = {"bytes": float(np.mean(sizes)), "refused": refused}
    return result | ({"epsilon": max(spent)} if spent else {})


def inversions(count: int, steps: int) -> list[dict[str, float]]:
    """How like the patient's crop the attacker's copy is, for the first crops of north."""
    torch.manual_seed(0)
    model, generator = CandidateNet(), torch.Generator().manual_seed(0)
    crops, labels = candidates.inputs(hospitals.patients("north", "test"))
    hide, rows = attacks.percentile_filter, []
    for crop, label in zip(crops[:count, :1], labels[:count, :1], strict=True):
        plain = [g.detach() for g in attacks.gradient(model, crop, label)]
        norm = float(torch.cat([g.flatten() for g in plain]).norm())
        noisy = [g + norm * torch.randn(g.shape, generator=generator) for g in plain]
        tries: dict[str, tuple[list, Callable | None]] = {
            "the plain gradient": (plain, None),
            "the filtered gradient": (hide(plain), None),
            "the filtered gradient, by an attacker who knows the filter": (
                hide(plain),
                hide,
            ),
            "the gradient with noise (multiplier 1)": (noisy, None),
        }
        row = {}
        for name, (sent, known) in tries.items():
            copy = attacks.invert(model, sent, label, steps=steps, known=known)
            row[name] = attacks.likeness(copy, crop)
        rows.append(row)
    return rows


def test_scan(hospital: str, index: int) -> Scan:
    """The scan of a test patient."""
    return hospitals.patient_scan(HOSPITALS[hospital], "new", index)


def marked(model: nn.Module, scan: Scan) -> Marked:
    """The marks of a detector in a scan."""
    marks = mark(model, scan.hu, scan.spacing_mm)
    table = np.column_stack([marks.table(), marks.diameters_mm])
    return Marked(table, scans.boxes(scan), scan.specks)
