r"""What an update or a model gives away about the patients: two attacks.

**Membership inference** asks whether a patient was among those that a model was trained on.
Its advantage is the rate of members that it finds minus that of others that it mistakes for
members: 0 is guessing. :math:`(\varepsilon, \delta)`-privacy allows no attack more than

.. math:: \frac{e^\varepsilon - 1 + 2 \delta}{e^\varepsilon + 1}

**Gradient inversion** looks for the crop whose gradient is the one that a hospital sent.

Sources: Humphries et al. 2023, "Investigating Membership Inference Attacks under Data
Dependencies", CSF; Geiping et al. 2020, "Inverting Gradients - How easy is it to break
privacy in federated learning?", NeurIPS.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .candidates import loss

RATE = 0.05  # of Adam at the start of an inversion


@dataclass(frozen=True)
class Advantage:
    """The advantage of membership inference, with its 95 % interval."""

    value: float
    low: float
    high: float


def membership(
    members: np.ndarray, others: np.ndarray, repeats: int = 1000, seed: int = 0
) -> Advantage:
    """Attack with a threshold: a patient with a lower loss is taken for a member.

    The threshold is the best one on one half of the patients, and the advantage is that on
    the other half, so an attack that knows nothing gets 0 on average. The interval comes
    from resampling the patients.

    Args:
        members: the losses of patients that the model was trained on, `[N]`.
        others: the losses of patients that it was not trained on, `[M]`.

    Raises:
        ValueError: if there are less than 4 of either, or a loss is not finite.
    """
    for name, values in (("members", members), ("others", others)):
        if len(values) < 4 or not np.isfinite(values).all():
            raise ValueError(
                f"{name} must be at least 4 finite losses; got {values!r}."
            )
    rng = np.random.default_rng(seed)
    value = np.mean([_held_out(members, others, rng) for _ in range(100)])
    samples = [
        _held_out(
            rng.choice(members, len(members)), rng.choice(others, len(others)), rng
        )
        for _ in range(repeats)
    ]
    low, high = np.quantile(samples, [0.025, 0.975])
    return Advantage(float(value), float(low), float(high))


def _held_out(
    members: np.ndarray, others: np.ndarray, rng: np.random.Generator
) -> float:
    a, b = rng.permutation(members), rng.permutation(others)
    half_a, half_b = len(a) // 2, len(b) // 2
    candidates = np.concatenate([a[:half_a], b[:half_b], [-np.inf]])
    gains = _rates(a[:half_a], candidates) - _rates(b[:half_b], candidates)
    threshold = candidates[[int(gains.argmax())]]
    return float((_rates(a[half_a:], threshold) - _rates(b[half_b:], threshold))[0])


def _rates(losses: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the fraction of losses that are not above each threshold."""
    return np.searchsorted(np.sort(losses), thresholds, side="right") / len(losses)


def largest_advantage(epsilon: float, delta: float) -> float:
    """Return the advantage that no attack on a private model can exceed."""
    return (math.expm1(epsilon) + 2 * delta) / (math.exp(epsilon) + 1)


def gradient(model: nn.Module, crops: Tensor, labels: Tensor) -> list[Tensor]:
    """Return the gradient of the loss with respect to each parameter."""
    value = loss(model, crops, labels)
    return [*torch.autograd.grad(value, [*model.parameters()], create_graph=True)]


def invert(
    model: nn.Module,
    sent: list[Tensor],
    labels: Tensor,
    *,
    side: int = 16,
    steps: int = 500,
    smoothness: float = 0.1,
    seed: int = 0,
    known: Callable[[list[Tensor]], list[Tensor]] | None = None,
) -> Tensor:
    r"""Return the crops whose gradient is most like the one that was sent.

    .. math:: \min_x 1 - \frac{\langle \nabla L(x), g \rangle}{\|\nabla L(x)\| \|g\|}
        + \alpha \, TV(x)

    Args:
        model: the model that the hospital was sent.
        sent: the gradient, one tensor per parameter. An update of one step is a gradient.
        labels: of the crops, `[N]`; the sign of the last bias gives one away anyway.
        smoothness: alpha, the weight of the mean difference of neighboring voxels.
        known: what the hospital does to its gradient before it sends it, if the attacker
            knows it, such as `percentile_filter`.
    """
    generator = torch.Generator().manual_seed(seed)
    grain = torch.randn((len(labels), side, side, side), generator=generator)
    x = (0.3 + 0.02 * grain).requires_grad_()
    goal = torch.cat([each.detach().flatten() for each in sent])
    optimizer = torch.optim.Adam([x], lr=RATE)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = (
            0.05 * (1 + math.cos(math.pi * step / steps)) / 2
        )
        update = gradient(model, x, labels)
        if known is not None:
            update = known(update)
        own = torch.cat([each.flatten() for each in update])
        value = 1 - F.cosine_similarity(own, goal, dim=0) + smoothness * _variation(x)
        (x.grad,) = torch.autograd.grad(value, [x])
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    return x.detach()


def _variation(x: Tensor) -> Tensor:
    return torch.stack([x.diff(dim=axis).abs().mean() for axis in (-3, -2, -1)]).sum()


def likeness(a: Tensor, b: Tensor) -> float:
    """Return the correlation of two crops: 1 if they differ by scale and offset only."""
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1])


def percentile_filter(
    update: list[Tensor], percentile: float = 10, largest: float = 0.01
) -> list[Tensor]:
    """Send only the larger values of an update, clipped: NVFlare's `PercentilePrivacy`.

    It is no differential privacy: there is no noise, so the result depends on each patient
    with certainty, and no epsilon describes it. An attacker who knows the filter can apply
    it to a guess, too (`invert(..., known=percentile_filter)`).

    Args:
        percentile: so many percent of the values, the smallest ones, become 0.
        largest: the values that are sent are clipped to this size.

    Source: Shokri and Shmatikov 2015, "Privacy-Preserving Deep Learning", CCS, as NVFlare
    implements it.
    """
    flat = torch.cat([each.flatten() for each in update]).abs()
    cutoff = torch.quantile(flat, percentile / 100)
    return [
        torch.where(each.abs() < cutoff, 0, each.clamp(-largest, largest))
        for each in update
    ]
