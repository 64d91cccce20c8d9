"""Write a training loop: clear, backward, step."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from deepseek_learn.course import expect
from deepseek_learn.course.problem import Failed

STEPS = (4, 1, 6)


def check(answer, rng) -> None:
    expect.function(answer, "train")
    for steps in STEPS:
        model, x, y = draw(rng)
        lr = float(rng.uniform(0.1, 0.3))
        start = duplicate(model)
        want = descend(start, x, y, steps, lr)
        trained = duplicate(model)
        argument = expect.may_change(trained)
        result = expect.call(answer, argument, x, y, steps, lr)
        name_mistake(result, trained, model, (x, y, steps, lr))
        losses = expect.parts(result, steps, "train(...)")
        for i, (own, loss) in enumerate(zip(losses, want, strict=True)):
            value = expect.shape(own, (), f"train(...)[{i}]")
            expect.close(float(value), loss, f"train(...)[{i}]", 1e-4)
        expect.close(flat(trained), flat(start), "model.parameters()", 1e-4)


def draw(rng) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Draw a small classifier with gradients left in it, and a batch."""
    batch, inputs, classes = (int(n) for n in rng.integers((6, 3, 3), (12, 6, 5)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**31)))
        model = nn.Sequential(nn.Linear(inputs, 5), nn.Tanh(), nn.Linear(5, classes))
        for parameter in model.parameters():
            parameter.grad = 0.5 + torch.rand_like(parameter)
    x = torch.from_numpy(rng.normal(size=(batch, inputs))).float()
    return model, x, torch.from_numpy(rng.integers(0, classes, size=batch))


def descend(
    model: nn.Module, x, y, steps: int, lr: float, left_over=False, adds=False
) -> list[float]:
    """Train `model` with gradients as values, optionally with one of two mistakes."""
    parameters = list(model.parameters())
    carry = [gradient(p) if left_over else torch.zeros_like(p) for p in parameters]
    losses = []
    for _ in range(steps):
        loss = F.cross_entropy(model(x), y)
        slopes = torch.autograd.grad(loss, parameters)
        total = [c + s for c, s in zip(carry, slopes, strict=True)]
        for parameter, step in zip(parameters, total, strict=True):
            parameter.data = parameter.data - lr * step
        carry = total if adds else [torch.zeros_like(p) for p in parameters]
        losses.append(loss.item())
    return losses


def gradient(parameter: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def duplicate(model: nn.Module) -> nn.Module:
    """Copy a model with its gradients, which `deepcopy` would leave behind."""
    other = copy.deepcopy(model)
    for own, theirs in zip(model.parameters(), other.parameters(), strict=True):
        theirs.grad = gradient(own).clone()
    return other


def flat(model: nn.Module) -> np.ndarray:
    return (
        torch.cat([p.detach().flatten() for p in model.parameters()]).double().numpy()
    )


def name_mistake(result, trained, model, task) -> None:
    """Raise `Failed` if the answer is a known mistake."""
    x, y, steps, lr = task

    def twin(rate=lr, count=steps, **mistake):
        other = duplicate(model)
        losses = descend(other, x, y, count, rate, **mistake)
        return flat(other), losses

    def same(other):
        return np.allclose(flat(trained), other, rtol=1e-4, atol=1e-5)

    if same(flat(model)):
        raise Failed("still")
    if same(twin(-lr)[0]):
        raise Failed("uphill")
    if same(twin(left_over=True)[0]):
        raise Failed("left_over")
    if steps > 1 and same(twin(adds=True)[0]):
        raise Failed("accumulated")
    if (
        not isinstance(result, list | tuple)
        or len(result) != steps
        or not same(twin()[0])
    ):
        return  # the comparisons in `check` report it
    after = twin(count=steps + 1)[1][1:]
    if all(isinstance(part, float) for part in result) and np.allclose(
        result, after, rtol=1e-5, atol=1e-6
    ):
        raise Failed("after")
