r"""Differential privacy for patients: clipped gradients, noise, and an account of both.

A mechanism is :math:`(\varepsilon, \delta)`-private if, for all sets of results S and for
all data D, D' that differ in one patient,

.. math:: P(M(D) \in S) \le e^\varepsilon P(M(D') \in S) + \delta.

DP-SGD takes each patient into a step with probability q, clips the patient's gradient to
the norm C, and adds noise with the standard deviation :math:`\sigma C` to the sum. The
accountant (Google's `dp_accounting`, Rényi DP) adds up what all steps of a hospital have
spent. Three limits: the number of a hospital's patients counts as public, and so does the
time that a round takes; the noise comes from NumPy's generator, which the operating system
seeds with 128 bits, but which is not a cryptographic one.

Source: Abadi et al. 2016, "Deep Learning with Differential Privacy", CCS.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import DeepSeekLearnError, require

ORDERS = (*range(2, 65), 128, 256, 512)  # of Rényi privacy
MOST_NOISE = (
    10.0  # times what the whole budget would need; with more, nothing is learned
)


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
        if not (_is_number(self.epsilon) and 0 < self.epsilon < math.inf):
            raise ValueError(
                "epsilon must be a positive number (a budget of 0 allows no training); "
                f"got {self.epsilon!r}."
            )
        if not (_is_number(self.delta) and 0 < self.delta < 1):
            raise ValueError(
                f"delta must be a number between 0 and 1; got {self.delta!r}."
            )


@dataclass(frozen=True)
class Spending:
    """Some steps of DP-SGD.

    Attributes:
        noise: the noise multiplier sigma.
        rate: the probability q with which a step takes a patient.

    Raises:
        ValueError: if a number is out of its range.
    """

    noise: float
    rate: float
    steps: int

    def __post_init__(self) -> None:
        if not (_is_number(self.noise) and 1e-3 <= self.noise < math.inf):
            raise ValueError(f"noise must be at least 0.001; got {self.noise!r}.")
        if not (_is_number(self.rate) and 0 < self.rate <= 1):
            raise ValueError(f"rate must be above 0 and at most 1; got {self.rate!r}.")
        if type(self.steps) is not int or self.steps < 1:
            raise ValueError(
                f"steps must be a positive whole number; got {self.steps!r}."
            )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def epsilon_of(spendings: Sequence[Spending], delta: float) -> float:
    """Return the epsilon of some spendings together, at a delta; 0 for none."""
    if not spendings:
        return 0.0
    dp, rdp = _accounting()
    accountant = rdp.RdpAccountant(ORDERS)
    # most rounds of a run have the same noise, and each event takes time
    steps = Counter[tuple[float, float]]()
    for each in spendings:
        steps[each.noise, each.rate] += each.steps
    for (noise, rate), count in steps.items():
        event = dp.PoissonSampledDpEvent(rate, dp.GaussianDpEvent(noise))
        accountant.compose(event, count)
    return float(accountant.get_epsilon(delta))


@lru_cache
def noise_for(
    budget: Budget,
    rate: float,
    steps: int,
    spent: tuple[Spending, ...] = (),
    most: float = math.inf,
) -> float:
    """Return the least noise multiplier with which so many steps keep within a budget.

    It is found by bisection, to 0.1 % and on the safe side. If the noise of the last
    spending fits to 1 %, it is that.

    Args:
        most: the largest noise with which training makes sense.

    Raises:
        BudgetSpentError: if what is left of the budget needs more.
    """

    def within(noise: float) -> bool:
        all_of_them = [*spent, Spending(noise, rate, steps)]
        return epsilon_of(all_of_them, budget.delta) <= budget.epsilon

    low, high = 0.0, spent[-1].noise if spent else 1.0
    if spent and within(high) and not within(0.99 * high):
        return high
    while low < most and not within(high):
        low, high = high, 2 * high
    while low < most and high - low > 1e-3 * high:
        middle = max((low + high) / 2, 2e-3)
        low, high = (low, middle) if within(middle) else (middle, high)
    if high > most:
        raise BudgetSpentError(
            f"Epsilon {epsilon_of(spent, budget.delta):.3g} of the budget of "
            f"{budget.epsilon:g} (delta {budget.delta:g}) is spent; what is left does "
            f"not suffice for {steps} more steps."
        )
    return high


def _accounting() -> tuple[Any, Any]:
    purpose = "Accounting for privacy"
    event = require("dp_accounting.dp_event", extra="federated", purpose=purpose)
    rdp = require("dp_accounting.rdp", extra="federated", purpose=purpose)
    return event, rdp


def clipped_sum(
    model: nn.Module,
    loss: Callable[[nn.Module, Tensor, Tensor], Tensor],
    patients: Iterable[tuple[Tensor, Tensor]],
    clip: float,
) -> list[Tensor]:
    """Return the sum of the patients' gradients, each clipped to a norm.

    A patient whose gradient is not finite adds nothing: an error would tell that this
    patient was there.

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
        if not torch.isfinite(norm):
            continue
        scale = (clip / norm.clamp_min(1e-12)).clamp(max=1)
        for into, gradient in zip(total, gradients, strict=True):
            into += scale * gradient
    return total
