r"""What an update or a model gives away about the patients: two attacks.

**Membership inference** asks whether a patient was among those that a model was trained on.
Its advantage is the rate of members that it finds minus that of others that it mistakes for
members: 0 is guessing. If members and others are drawn alike, and independently, then
:math:`(\varepsilon, \delta)`-privacy allows no attack more than

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
    from new halves each time, whose patients are resampled.

    Args:
        members: the losses of patients that the model was trained on, `[N]`.
        others: the losses of patients that it was not trained on, `[M]`.

    Raises:
        ValueError: if there are less than 4 of either, or a loss is not finite.
    """
    a, b = _losses("members", members), _losses("others", others)
    rng = np.random.default_rng(seed)
    value = np.mean([_held_out(a, b, rng) for _ in range(100)])
    samples = [_held_out(a, b, rng, resample=True) for _ in range(repeats)]
    low, high = np.quantile(samples, [0.025, 0.975])
    return Advantage(float(value), float(low), float(high))


def _losses(name: str, values: np.ndarray) -> np.ndarray:
    losses = np.asarray(values, float)
    if losses.ndim != 1 or len(losses) < 4 or not np.isfinite(losses).all():
        raise ValueError(
            f"{name} must be at least 4 finite losses; got {losses.size} of shape "
            f"{list(losses.shape)}, {np.isfinite(losses).sum()} of them finite."
        )
    return losses


def _held_out(
    members: np.ndarray,
    others: np.ndarray,
    rng: np.random.Generator,
    resample: bool = False,
) -> float:
    """Choose the threshold on one half and return the advantage on the other.

    Resampling comes after the split, so that nobody is in both halves.
    """
    a, b = rng.permutation(members), rng.permutation(others)
    halves = [a[: len(a) // 2], b[: len(b) // 2], a[len(a) // 2 :], b[len(b) // 2 :]]
    if resample:
        halves = [rng.choice(half, len(half)) for half in halves]
    candidates = np.concatenate([halves[0], halves[1], [-np.inf]])
    gains = _rates(halves[0], candidates) - _rates(halves[1], candidates)
    threshold = candidates[[int(gains.argmax())]]
    return float((_rates(halves[2], threshold) - _rates(halves[3], threshold))[0])


def _rates(losses: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Return the fraction of losses that are not above each threshold."""
    return np.searchsorted(np.sort(losses), thresholds, side="right") / len(losses)


def largest_advantage(epsilon: float, delta: float) -> float:
    """Return the advantage that no attack on a private model can exceed."""
    small = math.exp(-epsilon)
    return (1 - small + 2 * delta * small) / (1 + small)


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

    Raises:
        ValueError: if `sent` is not finite or `labels` is not a vector.
    """
    if not all(torch.isfinite(each).all() for each in sent):
        raise ValueError("sent must be finite; it contains NaN or infinity.")
    if labels.ndim != 1:
        raise ValueError(f"labels must have shape [N]; got {list(labels.shape)}.")
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
    rank = round(percentile / 100 * (len(flat) - 1)) + 1
    cutoff = flat.kthvalue(rank).values
    return [
        torch.where(each.abs() < cutoff, 0, each.clamp(-largest, largest))
        for each in update
    ]
