"""What one hospital computes in one round, from the model that it was sent.

Every round starts with a fresh optimizer, so a hospital keeps nothing between rounds but
its patients (and, with privacy, its ledger).
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from ...optim import DeepOpt
from .checked import at_least, check_fields
from .privacy import clipped_sum
from .tasks import CANDIDATES, Task


@dataclass(frozen=True)
class Local:
    """Local training.

    Attributes:
        steps: per round.
        patients: per step; with privacy, on average.
        lr: of DeepOpt.
        proximal: FedProx's mu, the weight of half the squared distance from the model
            that was sent. 0 is FedAvg.

    Raises:
        ValueError: if a number is out of its range.
    """

    steps: int = 10
    patients: int = 16
    lr: float = 0.01
    proximal: float = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        at_least(self, steps=1, patients=1, lr=math.ulp(0), proximal=0.0)


def train(
    model: nn.Module, patients: Any, local: Local, seed: int, task: Task = CANDIDATES
) -> float:
    r"""Train a model in place and return the mean loss.

    .. math:: \min_w F_k(w) + \frac{\mu}{2} \lVert w - w_0 \rVert^2

    Args:
        patients: of `task.read`.

    Sources: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS; for the second term, Li et al. 2020, "Federated
    Optimization in Heterogeneous Networks", MLSys.
    """
    rng, losses = np.random.default_rng(seed), []
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = DeepOpt(model, lr=local.lr)
    size = min(local.patients, len(patients))
    for _ in range(local.steps):
        index = rng.choice(len(patients), size, replace=False)
        value = task.loss(model, *task.batch(patients, index, rng))
        losses.append(value.item())
        if local.proximal:
            pairs = zip(model.parameters(), start, strict=True)
            away = sum((p - p0).square().sum() for p, p0 in pairs)
            value = value + local.proximal / 2 * away
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return float(np.mean(losses))


def mean_loss(
    model: nn.Module, patients: Any, size: int, task: Task = CANDIDATES
) -> float:
    """Return the mean loss over all patients, `size` at a time.

    The crops that a task draws are the same ones in each call.
    """
    rng, total = np.random.default_rng(0), 0.0
    with torch.inference_mode():
        for start in range(0, len(patients), size):
            index = np.arange(start, min(start + size, len(patients)))
            batch = task.batch(patients, index, rng)
            total += len(index) * task.loss(model, *batch).item()
    return total / len(patients)


def train_privately(
    model: nn.Module,
    patients: Any,
    local: Local,
    noise: float,
    clip: float = 1.0,
    seed: int | None = None,
    task: Task = CANDIDATES,
) -> None:
    r"""Train a model in place with DP-SGD; a patient is what is protected.

    .. math:: g = \frac{1}{q N} \left( \sum_{i \in B} g_i \min(1, C / \lVert g_i \rVert)
        + \mathcal N(0, \sigma^2 C^2) \right)

    Each patient is in the batch B with probability q = `rate(patients, local)`. FedProx's
    term is added afterwards.

    Args:
        patients: of `task.read`.
        noise: the noise multiplier sigma.
        clip: the norm C.
        seed: of batches and noise. None takes one from the operating system, as it must be
            outside of tests: who can guess the noise can remove it.
    """
    rng = np.random.default_rng(seed)
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = DeepOpt(model, lr=local.lr)
    q = rate(patients, local)
    for _ in range(local.steps):
        index = np.flatnonzero(rng.random(len(patients)) < q)
        batch = (task.batch(patients, index[[i]], rng) for i in range(len(index)))
        summed = clipped_sum(model, task.loss, batch, clip)
        for p, p0, total in zip(model.parameters(), start, summed, strict=True):
            grain = torch.from_numpy(rng.standard_normal(p.shape, np.float32))
            p.grad = (total + noise * clip * grain) / (q * len(patients))
            p.grad += local.proximal * (p.detach() - p0)  # of no patient
        optimizer.step()


def rate(patients: Any, local: Local) -> float:
    """Return the probability with which a step takes a patient."""
    return min(1.0, local.patients / len(patients))
