r"""Differential privacy for patients: clipped gradients, noise, and an account of both.

A mechanism is :math:`(\varepsilon, \delta)`-private if, for all sets of results S and for
all data D, D' that differ in one patient,

.. math:: P(M(D) \in S) \le e^\varepsilon P(M(D') \in S) + \delta.

DP-SGD takes each patient into a step with probability q, clips the patient's gradient to
the norm C, and adds noise with the standard deviation :math:`\sigma C` to the sum. The
accountant (Google's `dp_accounting`, Rényi DP) adds up what all steps of a hospital have
spent. Two limits: the number of a hospital's patients counts as public, and the noise comes
from PyTorch's generator, which is seeded by the operating system but is not a cryptographic
one.

Source: Abadi et al. 2016, "Deep Learning with Differential Privacy", CCS.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ....errors import DamagedFileError, DeepSeekLearnError, require
from ....files import atomic_write, exclusive

ORDERS = (*range(2, 65), 128, 256, 512)  # of Rényi privacy


class BudgetSpentError(DeepSeekLearnError):
    """Raised if a training would spend more than a hospital's budget."""


@dataclass(frozen=True)
class Budget:
    """How much of its patients' privacy a hospital may spend, over all trainings.

    Raises:
        ValueError: if epsilon is not positive or delta is not between 0 and 1.
    """

    epsilon: float
    delta: float = 1e-4

    def __post_init__(self) -> None:
        if not 0 < self.epsilon < float("inf"):
            raise ValueError(
                "epsilon must be positive and finite (a budget of 0 allows no training); "
                f"got {self.epsilon}."
            )
        if not 0 < self.delta < 1:
            raise ValueError(f"delta must be between 0 and 1; got {self.delta}.")


@dataclass(frozen=True)
class Spending:
    """Some steps of DP-SGD.

    Attributes:
        noise: the noise multiplier sigma.
        rate: the probability q with which a step takes a patient.
    """

    noise: float
    rate: float
    steps: int


def epsilon_of(spendings: Sequence[Spending], delta: float) -> float:
    """Return the epsilon of some spendings together, at a delta; 0 for none."""
    if not spendings:
        return 0.0
    dp, rdp = _accounting()
    accountant = rdp.RdpAccountant(ORDERS)
    for each in spendings:
        event = dp.PoissonSampledDpEvent(each.rate, dp.GaussianDpEvent(each.noise))
        accountant.compose(event, each.steps)
    return float(accountant.get_epsilon(delta))


@lru_cache
def noise_for(budget: Budget, rate: float, steps: int) -> float:
    """Return the least noise multiplier with which so many steps keep within a budget.

    It is found by bisection, to 0.1 % and on the safe side.
    """
    low, high = 0.0, 1.0
    while epsilon_of([Spending(high, rate, steps)], budget.delta) > budget.epsilon:
        low, high = high, 2 * high
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        if epsilon_of([Spending(middle, rate, steps)], budget.delta) > budget.epsilon:
            low = middle
        else:
            high = middle
    return high


def _accounting() -> tuple[Any, Any]:
    purpose = "Accounting for privacy"
    event = require("dp_accounting.dp_event", extra="federated", purpose=purpose)
    rdp = require("dp_accounting.rdp", extra="federated", purpose=purpose)
    return event, rdp


class Ledger:
    """What a hospital has spent, in a file of its own that outlives every process.

    A spending is written before the steps run: a process that is killed in between has
    spent too much in the file, never too little.

    Args:
        path: a JSON file, which is created by the first spending.

    Raises:
        DamagedFileError: if the file is not a ledger.
    """

    def __init__(self, path: str | Path, budget: Budget):
        self.path, self.budget = Path(path), budget
        self._spent = self._read()

    def _read(self) -> list[Spending]:
        if not self.path.exists():
            return []
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
            return [Spending(**row) for row in rows]
        except (ValueError, TypeError, UnicodeDecodeError) as error:
            raise DamagedFileError(
                f"{self.path} is not a privacy ledger; without it, nobody knows what has "
                "been spent, so no training may start."
            ) from error

    @property
    def epsilon(self) -> float:
        """What has been spent, at the budget's delta."""
        return epsilon_of(self._spent, self.budget.delta)

    def charge(self, spending: Spending) -> float:
        """Write down a spending and return the epsilon spent so far, including it.

        Raises:
            BudgetSpentError: if it would exceed the budget; then nothing is written.
            FileExistsError: if another process is charging the ledger at this moment.
        """
        lock = self.path.with_name(f"{self.path.name}.lock")
        with lock.open(
            "w"
        ) as file:  # the ledger itself is replaced, so it cannot be it
            exclusive(file.fileno(), self.path)
            return self._charge(spending)

    def _charge(self, spending: Spending) -> float:
        self._spent = self._read()
        after = epsilon_of([*self._spent, spending], self.budget.delta)
        if after > self.budget.epsilon:
            raise BudgetSpentError(
                f"These {spending.steps} steps would bring epsilon from "
                f"{self.epsilon:.3g} to {after:.3g}, which exceeds the budget of "
                f"{self.budget.epsilon:g} (delta {self.budget.delta:g})."
            )
        self._spent.append(spending)
        with atomic_write(self.path) as temporary:
            temporary.write_text(json.dumps([asdict(each) for each in self._spent]))
        return after


def clipped_sum(
    model: nn.Module,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    patients: Iterable[tuple[Tensor, Tensor]],
    clip: float,
) -> list[Tensor]:
    """Return the sum of the patients' gradients, each clipped to a norm.

    Args:
        loss: of the model, a patient's inputs and their labels.
        patients: the inputs and labels of each patient.
        clip: the largest norm of a patient's gradient, over all parameters.

    Returns:
        For each parameter, a tensor of its shape; zeros if there are no patients.
    """
    parameters = [*model.parameters()]
    total = [torch.zeros_like(p) for p in parameters]
    for x, y in patients:
        gradients = torch.autograd.grad(loss(model, x, y), parameters)
        norm = torch.stack([g.norm() for g in gradients]).norm()
        scale = (clip / norm.clamp_min(1e-12)).clamp(max=1)
        for into, gradient in zip(total, gradients, strict=True):
            into += scale * gradient
    return total
