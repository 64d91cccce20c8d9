"""Compare the learner's update rule for weight matrices with equally tuned AdamW."""

import math
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    losses = {}
    for rate in rates:
        each = [train(answer, rate, initial, parts) for initial in starts]
        losses[rate] = [
            math.exp(sum(logs) / len(logs)) for logs in zip(*each, strict=True)
        ]
    best = min(rates, key=lambda rate: losses[rate][0])
    return losses[best][1], best


def train(answer, rate: float, start, parts) -> tuple[float, float]:
    """Return the logarithms of the validation and test losses after one run."""
    parameters, batches = start
    model = network(parameters)
    first, second, _ = (p for p in model.parameters() if p.dim() == 2)
    matrices: list[Tensor] = [first, second]
    states: list[dict] = [{} for _ in matrices]
    rest = [p for p in model.parameters() if all(p is not w for w in matrices)]
    groups = [{"params": rest, "peak": REST}]
    if answer is None:
        groups.append({"params": matrices, "peak": rate})
    adamw = torch.optim.AdamW(groups)
    images, labels = parts[0]
    for t, rows in enumerate(batches, 1):
        decay = 1 - (t - 1) / STEPS  # linear decay of the rate
        loss = F.cross_entropy(model(images[rows]), labels[rows])
        model.zero_grad()
        loss.backward()
        for group in adamw.param_groups:
            group["lr"] = group["peak"] * decay
        adamw.step()
        if answer is None:
            continue
        with torch.no_grad():
            for w, state in zip(matrices, states, strict=True):
                assert w.grad is not None
                w -= RMS * rate * decay * unit_direction(answer, w.grad, state, t)
    with torch.no_grad():
        values = [F.cross_entropy(model(x), y).item() for x, y in parts[1:]]
    return math.log(values[0]), math.log(values[1])


def network(parameters) -> nn.Sequential:
    with torch.device("meta"):  # the learner's RNG stays untouched
        layers = [nn.Linear(*pair) for pair in pairwise(SIZES)]
    model = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.ReLU(), layers[2])
    names = [name for name, _ in model.named_parameters()]
    values = {n: p.clone() for n, p in zip(names, parameters, strict=True)}
    model.load_state_dict(values, assign=True)
    return model.requires_grad_()


def unit_direction(answer, g: Tensor, state: dict, t: int) -> Tensor:
    """Scale the learner's direction to a root mean square of one; zeros stay zeros."""
    got = expect.call(answer, g, expect.may_change(state), t)
    expect.tensor(got, CALL)
    values = torch.from_numpy(expect.shape(got, g.shape, CALL))
    size = values.square().mean().sqrt()
    if not torch.isfinite(size):
        raise Failed("values", step=t)
    return (values / size.clamp_min(1e-30)).float()
