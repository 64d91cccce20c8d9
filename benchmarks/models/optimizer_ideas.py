"""Four ideas of the public optimizer race, each added to DeepOpt, for `deepopt.py`."""

from collections.abc import Callable, Sequence
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from deepseek_learn import DeepOpt
from deepseek_learn.optim import rules
from deepseek_learn.optim.orthogonal import orthogonalize

Directions = Callable[..., list[Tensor]]
SHARE = 0.2  # of the steps whose weights are averaged
FLOOR = 0.5  # of the mean length of a row
EVERY, DECAY, LONGEST = 10, 0.95, 2048  # SOAP's
PART = 0.5  # of the rows that are moved in a step


class TailAverage(DeepOpt):
    """The weights after training are the mean of those of the last steps."""

    def __init__(self, *args, steps: int, **options):
        super().__init__(*args, **options)
        self.first, self.turn = int(steps * (1 - SHARE)), 0
        self.mean: list[Tensor] = []

    def step(self, closure=None) -> Any:
        loss = super().step(closure)
        self.turn += 1
        if self.turn > self.first:
            weights = [p.detach() for p in self._parameters()]
            self.mean = self.mean or [w.clone() for w in weights]
            torch._foreach_lerp_(self.mean, weights, 1 / (self.turn - self.first))
        return loss

    def eval(self) -> None:
        with torch.no_grad():
            for p, mean in zip(self._parameters(), self.mean, strict=True):
                p.copy_(mean)

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.param_groups for p in group["params"]]


class _Replaced(DeepOpt):
    """A DeepOpt with another way from the momentum to the direction of a matrix."""

    def __init__(self, *args, steps: int, **options):
        super().__init__(*args, **options)

    def step(self, closure=None) -> Any:
        with patch.object(rules, "_directions", self.directions(rules._directions)):
            return super().step(closure)

    def directions(self, original: Directions) -> Directions:
        """The function that takes the place of `rules._directions`."""
        raise NotImplementedError


class RowFloor(_Replaced):
    """No row of an update is shorter than half of the mean length."""

    def directions(self, original: Directions) -> Directions:
        def lifted(group, batch, weights, u, states) -> list[Tensor]:
            steps = original(group, batch, weights, u, states)
            return [_lift(x, shape) for x, (_, shape) in zip(steps, batch, strict=True)]

        return lifted


def _lift(x: Tensor, shape: Sequence[int]) -> Tensor:
    matrices = x.view(tuple(shape))  # [K, m, n]
    along = -1 if shape[1] >= shape[2] else -2
    length = matrices.norm(dim=along, keepdim=True)
    least = FLOOR * length.mean((-2, -1), keepdim=True)
    return (matrices * (length.maximum(least) / length.clamp_min(1e-20))).view_as(x)


class SoapFirst(_Replaced):
    """SOAP's preconditioner before the polar step.

    The momentum is divided by the root of the mean squared gradient in the eigenbases of
    E[G G^T] and E[G^T G], which are renewed every 10 steps (Vyas et al. 2024, "SOAP",
    arXiv 2409.11321).
    """

    def directions(self, original: Directions) -> Directions:
        def preconditioned(group, batch, weights, u, states) -> list[Tensor]:
            sides = zip(batch, u, states, strict=True)
            new = [_precondition(p, tuple(s), x, state) for (p, s), x, state in sides]
            return original(group, batch, weights, new, states)

        return preconditioned


def _precondition(p: Tensor, shape: tuple, u: Tensor, state: dict) -> Tensor:
    if max(shape[1:]) > LONGEST:
        return u
    assert p.grad is not None
    gradient, momentum = p.grad.float().view(shape), u.view(shape)  # [K, m, n]
    products = gradient @ gradient.mT, gradient.mT @ gradient
    if "squares" not in state:
        state["squares"], state["turn"] = torch.zeros(shape), 0
        state["products"] = [torch.zeros_like(product) for product in products]
    for mean, product in zip(state["products"], products, strict=True):
        mean.lerp_(product, 1 - DECAY)
    if state["turn"] == 0:
        state["bases"] = [torch.linalg.eigh(mean)[1] for mean in state["products"]]
    elif state["turn"] % EVERY == 0:  # one step of the power iteration
        pairs = zip(state["products"], state["bases"], strict=True)
        state["bases"] = [torch.linalg.qr(mean @ basis)[0] for mean, basis in pairs]
    state["turn"] += 1
    rows, columns = state["bases"]
    state["squares"].lerp_((rows.mT @ gradient @ columns).square(), 1 - DECAY)
    mean_square = state["squares"] / (1 - DECAY ** state["turn"])
    rotated = rows.mT @ momentum @ columns / (mean_square.sqrt() + 1e-8)
    return (rows @ rotated @ columns.mT).reshape(u.shape)


class PartOfRows(_Replaced):
    """In the manner of Dion2: only the half of the rows with the largest momentum moves.

    Only the momentum of those rows decays; that of the others waits.
    """

    def directions(self, original: Directions) -> Directions:
        def partial(group, batch, weights, u, states) -> list[Tensor]:
            mu = rules.momentum_at(group)
            sides = zip(batch, u, states, strict=True)
            return [
                _largest_rows(group, mu, tuple(shape), x, state)
                for (_, shape), x, state in sides
            ]

        return partial


def _largest_rows(
    group: dict, mu: float, shape: tuple, u: Tensor, state: dict
) -> Tensor:
    tall = shape[1] >= shape[2]
    rows, momentum = u.view(shape), state["momentum"].view(shape)  # [K, m, n]
    rows, momentum = (rows, momentum) if tall else (rows.mT, momentum.mT)
    count = max(1, round(PART * rows.shape[1]))
    top = rows.abs().sum(-1).topk(count, dim=1)[1][..., None]  # [K, count, 1]
    square = state["square"] if tall else state["square"].mT  # [K, rows, 1]
    places = top.expand(-1, -1, rows.shape[2])
    moved = orthogonalize(rows.gather(1, places)).float()
    lengths = moved.square().mean(-1, keepdim=True)
    mean_length = square.gather(1, top).lerp(lengths, 1 - group["beta2"])
    scaled = moved / mean_length.clamp_min(1e-10).sqrt()  # equal lengths on average
    square.scatter_(1, top, mean_length)
    waits = torch.full_like(square, 1 / mu).scatter_(1, top, 1.0)
    momentum.mul_(waits.to(momentum.dtype))
    scaled *= moved.norm(dim=(1, 2), keepdim=True) / scaled.norm(
        dim=(1, 2), keepdim=True
    ).clamp_min(1e-20)
    step = torch.zeros_like(rows).scatter_(1, places, scaled)
    return (step if tall else step.mT).reshape(u.shape)
