"""What one hospital computes in one round, from the model that it was sent.

Every round starts with a fresh optimizer, so a hospital keeps nothing between rounds but
its patients (and, with privacy, its ledger).
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from .candidates import inputs, loss
from .hospitals import Patients
from .privacy import clipped_sum


@dataclass(frozen=True)
class Local:
    """Local training.

    Attributes:
        steps: per round.
        patients: per step; with privacy, on average.
        lr: of SGD with momentum 0.9.
        proximal: FedProx's mu, the weight of half the squared distance from the model
            that was sent. 0 is FedAvg.

    Raises:
        ValueError: if a number is out of its range.
    """

    steps: int = 20
    patients: int = 16
    lr: float = 0.05
    proximal: float = 0.0

    def __post_init__(self) -> None:
        for name in ("steps", "patients"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"{name} must be at least 1; got {getattr(self, name)}."
                )
        for name, least in (("lr", math.ulp(0)), ("proximal", 0.0)):
            if not least <= getattr(self, name) < math.inf:
                raise ValueError(
                    f"{name} must be finite and {'positive' if least else 'at least 0'}; "
                    f"got {getattr(self, name)}."
                )


def train(model: nn.Module, patients: Patients, local: Local, seed: int) -> float:
    r"""Train a model in place with SGD and return the mean loss.

    .. math:: \min_w F_k(w) + \frac{\mu}{2} \lVert w - w_0 \rVert^2

    Sources: McMahan et al. 2017, "Communication-Efficient Learning of Deep Networks from
    Decentralized Data", AISTATS; for the second term, Li et al. 2020, "Federated
    Optimization in Heterogeneous Networks", MLSys.
    """
    rng, losses = np.random.default_rng(seed), []
    start = [p.detach().clone() for p in model.parameters()]
    optimizer = torch.optim.SGD(model.parameters(), local.lr, momentum=0.9)
    size = min(local.patients, len(patients))
    for _ in range(local.steps):
        index = torch.from_numpy(rng.choice(len(patients), size, replace=False))
        value = loss(model, *inputs(patients, index))
        losses.append(value.item())
        if local.proximal:
            pairs = zip(model.parameters(), start, strict=True)
            away = sum((p - p0).square().sum() for p, p0 in pairs)
            value = value + local.proximal / 2 * away
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return float(np.mean(losses))


def train_privately(
    model: nn.Module,
    patients: Patients,
    local: Local,
    noise: float,
    clip: float = 1.0,
    seed: int | None = None,
) -> None:
    r"""Train a model in place with DP-SGD; a patient is what is protected.

    .. math:: g = \frac{1}{q N} \left( \sum_{i \in B} g_i \min(1, C / \lVert g_i \rVert)
        + \mathcal N(0, \sigma^2 C^2) \right)

    Each patient is in the batch B with probability q = `rate(patients, local)`.

    Args:
        noise: the noise multiplier sigma.
        clip: the norm C.
        seed: of batches and noise. None takes one from the operating system, as it must be
            outside of tests: who can guess the noise can remove it.
    """
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), local.lr, momentum=0.9)
    q = rate(patients, local)
    for _ in range(local.steps):
        index = (torch.rand(len(patients), generator=generator) < q).nonzero()[:, 0]
        summed = clipped_sum(model, *inputs(patients, index), clip)
        for name, parameter in model.named_parameters():
            grain = torch.randn(parameter.shape, generator=generator)
            total = summed[name] + noise * clip * grain
            parameter.grad = total / (q * len(patients))
        optimizer.step()


def rate(patients: Patients, local: Local) -> float:
    """Return the probability with which a step takes a patient."""
    return min(1.0, local.patients / len(patients))
