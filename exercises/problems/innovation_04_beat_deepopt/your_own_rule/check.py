"""Compare the learner's update rule for weight matrices with equally tuned AdamW."""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from deepseek_learn import data
from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed
from deepseek_learn.errors import MissingPackageError
from deepseek_learn.machine import one_thread

TARGET = 0.6  # as a fraction of AdamW's test loss
NETWORKS = 4
STEPS, BATCH = 40, 128
SIZES = 64, 96, 96, 10
RATES = (0.03, 0.1, 0.3)
RMS = 0.2  # RMS of an update, as a fraction of the learning rate
ADAMW = (0.02, 0.06, 0.18)  # AdamW's best learning rate here is 0.04 to 0.08
REST = 0.003  # AdamW's learning rate for biases and head
CALL = "direction(g, state, t)"


def check(answer, rng) -> None:
    expect.function(answer, "direction")
    try:
        digits = data.digits()
    except MissingPackageError as error:
        raise Failed("missing", error=str(error)) from None
    parts = [flat(part) for part in (digits.train, digits.validation, digits.test)]
    starts = [start(rng, len(parts[0][0])) for _ in range(NETWORKS)]
    with one_thread():
        learner_loss, rate = tuned(answer, RATES, starts, parts)
        adamw_loss, _ = tuned(None, ADAMW, starts, parts)
    if not learner_loss <= TARGET * adamw_loss:
        share = {"share": learner_loss / adamw_loss, "wanted": TARGET, "rate": rate}
        raise Failed("not_better", got=learner_loss, want=adamw_loss, **share)


def flat(part) -> tuple[Tensor, Tensor]:
    images, labels = part.batch()
    return images.flatten(1), labels


def start(rng, images: int) -> tuple[list[Tensor], list[Tensor]]:
    """Return the parameters of a fresh network, and the row indices of each batch."""
    parameters = []
    for columns, rows in pairwise(SIZES):
        for shape in ((rows, columns), (rows,)):
            values = rng.uniform(-1, 1, shape) / math.sqrt(columns)
            parameters.append(torch.from_numpy(values).float())
    epochs = -(-STEPS * BATCH // images)
    order = np.concatenate([rng.permutation(images) for _ in range(epochs)])
    return parameters, list(torch.from_numpy(order).split(BATCH)[:STEPS])


def tuned(answer, rates, starts, parts) -> tuple[float, float]:
    """Return the test loss at the rate with the best validation loss, and that rate.

    Losses are geometric means over the networks. Without an answer, AdamW is tuned.
    """
    losses = {rate: train(answer, rate, starts, parts) for rate in rates}
    best = min(rates, key=lambda rate: losses[rate][0])
    return losses[best][1], best


def train(answer, rate: float, starts, parts) -> tuple[float, float]:
    """Return the validation and test losses after a run of all networks side by side.

    The networks share each operation, as if they were the heads of an attention layer.
    """
    parameters, batches = zip(*starts, strict=True)
    model = [
        torch.stack(same).requires_grad_() for same in zip(*parameters, strict=True)
    ]
    matrices, rest = model[0:4:2], model[1:4:2] + model[4:]
    states: list[list[dict]] = [[{} for _ in starts] for _ in matrices]
    adamw = [(p, REST, AdamW(p)) for p in rest]
    if answer is None:
        adamw += [(w, rate, AdamW(w)) for w in matrices]
    images, labels = parts[0]
    for t, rows in enumerate(map(torch.stack, zip(*batches, strict=True)), 1):
        decay = 1 - (t - 1) / STEPS  # linear decay of the rate
        loss = mean_losses(model, images[rows], labels[rows]).sum()
        gradients = dict(zip(model, torch.autograd.grad(loss, model), strict=True))
        with torch.no_grad():
            for p, peak, rule in adamw:
                rule.step(p, gradients[p], peak * decay, t)
            for w, own in zip(matrices, states, strict=True):
                for one, g, state in zip(w, gradients[w], own, strict=True):
                    if answer is not None:
                        step = unit_direction(answer, g, state, t)
                        one -= RMS * rate * decay * step
    with torch.no_grad():
        means = [
            mean_losses(
                model, x.expand(len(starts), *x.shape), y.expand(len(starts), -1)
            )
            for x, y in parts[1:]
        ]
    validation, test = (each.log().mean().exp().item() for each in means)
    return validation, test


class AdamW:
    """torch.optim's rule with its defaults; its class would import half of torch."""

    def __init__(self, parameter: Tensor):
        self.mean, self.square = (torch.zeros_like(parameter) for _ in range(2))

    def step(self, p: Tensor, g: Tensor, lr: float, t: int) -> None:
        self.mean.lerp_(g, 0.1)
        self.square.lerp_(g.square(), 0.001)
        p *= 1 - 0.01 * lr
        scale = (self.square / (1 - 0.999**t)).sqrt_().add_(1e-8)
        p.addcdiv_(self.mean / (1 - 0.9**t), scale, value=-lr)


def mean_losses(model: list[Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return each network's mean loss on its own images `[N, B, 64]`: `[N]`."""
    x = images
    for weight, bias in zip(model[::2], model[1::2], strict=True):
        if x is not images:
            x = x.relu()
        x = torch.baddbmm(bias[:, None], x, weight.mT)  # [N, B, rows]
    return F.cross_entropy(x.mT, labels, reduction="none").mean(1)


def unit_direction(answer, g: Tensor, state: dict, t: int) -> Tensor:
    """Scale the learner's direction to a root mean square of one; zeros stay zeros."""
    got = expect.call(answer, g, expect.may_change(state), t)
    expect.tensor(got, CALL)
    values = torch.from_numpy(expect.shape(got, g.shape, CALL))
    size = values.square().mean().sqrt()
    if not torch.isfinite(size):
        raise Failed("values", step=t)
    return (values / size.clamp_min(1e-30)).float()
